"""A learning rate that falls when a validation score no longer improves."""

from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seg.schedules.base import Schedule


class Plateau(Schedule, Callback):
    """Multiply the learning rate by a factor when a validation score has not improved for some validations.

    What it has seen is part of every checkpoint. The counting is torch's ReduceLROnPlateau.

    Args:
        monitor: what is logged, such as val/miou or val/loss.
        mode: max where larger is better, min where smaller is; auto is min for losses.
        gamma: the factor.
        patience: validations without an improvement that are borne; the next one reduces the rate.
        threshold: an improvement is one by more than this.
        end: share of the base rate below which it does not fall.
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.
        warmup_constant: share of the base rate that is held during the warm-up, instead of the linear rise.

    Raises:
        ValueError: a factor outside 0..1, a negative patience.

    """

    def __init__(
        self,
        monitor: str = "val/miou",
        mode: Literal["auto", "max", "min"] = "auto",
        gamma: float = 0.1,
        patience: int = 5,
        threshold: float = 1e-4,
        end: float = 0.0,
        warmup: float = 0.0,
        warmup_constant: float | None = None,
    ) -> None:
        super().__init__(warmup, end, warmup_constant)
        if not 0 < gamma < 1 or patience < 0:
            raise ValueError(
                f"schedule.gamma, schedule.patience: {gamma}, {patience}, but a factor between 0 and 1 and a number of "
                "validations are expected, such as 0.1 and 5"
            )
        self.monitor = monitor
        direction = ("min" if "loss" in monitor else "max") if mode == "auto" else mode
        # counts on an optimiser of its own, whose rate is the factor
        self.rate = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self.counts = ReduceLROnPlateau(
            self.rate, direction, gamma, patience, threshold, threshold_mode="abs", min_lr=end, eps=0.0
        )

    def decay(self, progress: float) -> float:
        """Return the product of the reductions so far."""
        return float(self.rate.param_groups[0]["lr"])

    def factor(self, step: int, total: float, elapsed: float) -> float:
        """Return what the base learning rate is multiplied by, see `Schedule.factor`."""
        warming = self.warming(step, total, elapsed)
        return self.decay(0.0) * (1.0 if warming is None else warming)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the score, and reduce the rate of the coming step if it is time.

        Raises:
            ValueError: the score is not logged.

        """
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("val/")))
            raise ValueError(f"schedule.monitor: '{self.monitor}' is not logged; there are {known}")
        before = self.decay(0.0)
        self.counts.step(float(trainer.callback_metrics[self.monitor]))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= self.decay(0.0) / before

    def state_dict(self) -> dict[str, Any]:
        """Return the best score, the validations since, and the factor."""
        return {"factor": self.decay(0.0), "best": self.counts.best, "waited": self.counts.num_bad_epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint holds."""
        self.rate.param_groups[0]["lr"] = state_dict["factor"]
        self.counts.best, self.counts.num_bad_epochs = state_dict["best"], state_dict["waited"]
