"""Progress of a run: a bar on a terminal, plain lines in a log file."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, TQDMProgressBar


def progress() -> ProgressBar:
    """Return a bar where someone is watching a terminal, plain lines otherwise."""
    return TQDMProgressBar(leave=True) if sys.stdout.isatty() else PlainProgress()


class PlainProgress(ProgressBar):
    """Print one line every `log_every_n_steps` optimiser steps and one after every validation."""

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.started, self.first_step, self.images = 0.0, 0, 0
        self.printed_step = -1

    def disable(self) -> None:
        """Print nothing; Lightning calls this on all processes but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Print again."""
        self.enabled = True

    def say(self, *parts: str) -> None:
        """Print the parts of a line at once, so that a log file can be followed."""
        if self.enabled:
            print(" · ".join(parts), flush=True)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure the speed of an epoch."""
        self.started, self.images = time.monotonic(), 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line every so many steps."""
        self.images += len(batch["mask"]) * trainer.world_size
        step = trainer.global_step
        if step in (0, self.printed_step) or step % max(1, trainer.log_every_n_steps):  # type: ignore[attr-defined]
            return
        self.printed_step = step
        total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
        # what is logged is the mean over processes and accumulated batches; what is handed on is this batch's share
        loss = trainer.callback_metrics["train/loss"]
        self.say(
            f"epoch {trainer.current_epoch + 1}" + (f"/{total}" if total else ""),
            f"step {step}",
            f"loss {float(loss):.4f}",
            f"lr {trainer.optimizers[0].param_groups[0]['lr']:.2e}",
            f"{self.images / max(1e-9, time.monotonic() - self.started):.1f} images/s",
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the scores of a validation during training."""
        if trainer.sanity_checking or not trainer.state.fn or trainer.state.fn.value != "fit":
            return
        scores = trainer.callback_metrics
        shown = [name for name in ("val/loss", "val/miou", "val/pixel_accuracy") if name in scores]
        self.say(
            f"epoch {trainer.current_epoch + 1}",
            f"step {trainer.global_step}",
            *(f"{name} {float(scores[name]):.4f}" for name in shown),
        )
