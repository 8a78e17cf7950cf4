"""Validation every so many optimiser steps, which Lightning counts in batches."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

_NEVER = 1 << 62


class ValidateEvery(Callback):
    """Validate every `steps` optimiser steps and after the last one, and at no epoch's end.

    An optimiser step may take several batches, and an epoch's last one fewer than the others; the steps are counted
    over the whole run. Scores are logged with the number of the step that was just made.

    Args:
        steps: optimiser steps from one validation to the next.

    Raises:
        ValueError: less than one step.

    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"trainer.val_every_n_steps: {steps}, but 1 or more optimiser steps are expected")
        self.steps = steps
        self.seen = 0
        self.due = False

    @staticmethod
    def settings(given: dict[str, Any], steps: int) -> dict[str, Any]:
        """Return the Trainer's settings for a validation that is decided batch by batch.

        Raises:
            ValueError: another interval is set too.

        """
        if given.get("val_check_interval") is not None or given.get("check_val_every_n_epoch", 1) not in (1, None):
            raise ValueError(
                f"trainer.val_every_n_steps: {steps}, and another interval in val_check_interval or "
                "check_val_every_n_epoch; set one of the three, and the others to null"
            )
        return {**given, "val_check_interval": _NEVER, "check_val_every_n_epoch": None}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count, where a checkpoint stopped."""
        self.seen = trainer.global_step
        self.decide(trainer, self.due)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask for a validation behind this batch if it completed the right step."""
        step, before = trainer.global_step, self.seen
        self.seen = step
        last = step >= trainer.estimated_stepping_batches
        self.decide(trainer, step > before and (step % self.steps == 0 or last))

    def decide(self, trainer: pl.Trainer, due: bool) -> None:
        """Tell the Trainer whether a validation follows: it does so behind every batch that this number divides."""
        self.due = due
        trainer.val_check_batch = 1 if due else _NEVER

    def state_dict(self) -> dict[str, Any]:
        """Return whether a validation follows the batch, or has followed it: a resumed run does not repeat it."""
        return {"due": self.due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint holds."""
        self.due = bool(state_dict["due"])
