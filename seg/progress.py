"""Progress of a run: a bar on a terminal, plain lines in a log file, both with the time that is left."""

import math
import sys
import time
from typing import Any

import pytorch_lightning as pl
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import ProgressBar, Timer, TQDMProgressBar


@rank_zero_only
def say(text: str) -> None:
    """Print from the first process alone."""
    print(text, flush=True)


def progress() -> ProgressBar:
    """Return a bar where someone is watching a terminal, plain lines otherwise."""
    return Bar(leave=True) if sys.stdout.isatty() else PlainProgress()


class Clock:
    """Tell how long the whole training, its validations included, is going to take."""

    def __init__(self) -> None:
        self.began, self.first_step = time.monotonic(), 0

    def start(self, trainer: pl.Trainer) -> None:
        """Begin to measure, at the step where training starts or goes on."""
        self.began, self.first_step = time.monotonic(), trainer.global_step

    def left(self, trainer: pl.Trainer) -> str:
        """Return the time that is left as people say it, such as "12 min", or nothing where it is not known."""
        seconds = [self._by_steps(trainer)]
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer) and (remaining := callback.time_remaining()) is not None:
                seconds.append(remaining)
        least = min(seconds)
        return duration(least) if math.isfinite(least) else ""

    def _by_steps(self, trainer: pl.Trainer) -> float:
        done, total = trainer.global_step - self.first_step, float(trainer.estimated_stepping_batches)
        if done < 1 or not math.isfinite(total):
            return math.inf
        return max(0.0, (total - trainer.global_step) * (time.monotonic() - self.began) / done)


def duration(seconds: float) -> str:
    """Return a time in its two largest units at most: 40 s, 12 min, 3 h 05 min, 2 d 4 h."""
    seconds = max(0.0, seconds)  # a clock that has run out a little
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def epoch(trainer: pl.Trainer) -> str:
    """Return which epoch it is, from 1, and of how many, where that is known."""
    total = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else None
    return f"epoch {trainer.current_epoch + 1}" + (f"/{total}" if total else "")


class Bar(TQDMProgressBar):
    """Lightning's bar of an epoch, with loss, mIoU and what is left of the whole training."""

    def __init__(self, leave: bool = True) -> None:
        super().__init__(leave=leave)
        self.clock = Clock()
        self.shown: dict[str, str] = {}
        self.read_at = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure."""
        super().on_train_start(trainer, pl_module)
        self.clock.start(trainer)
        self.shown, self.read_at = {}, 0.0  # of the sanity check's few images, the scores mean nothing

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Count epochs from 1, as the plain lines do."""
        super().on_train_epoch_start(trainer, *_)
        self.train_progress_bar.set_description(epoch(trainer))

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return what stands at the right of the bar, read once a second: each reading waits for a GPU."""
        if (now := time.monotonic()) - self.read_at >= 1.0:
            self.read_at = now
            known = trainer.callback_metrics
            labels = {"loss": "train/loss", "val mIoU": "val/miou"}
            self.shown = {label: f"{float(known[name]):.4f}" for label, name in labels.items() if name in known}
            if trainer.training and (left := self.clock.left(trainer)):
                self.shown["left"] = left
        return dict(self.shown)


class PlainProgress(ProgressBar):
    """Print one line every `log_every_n_steps` optimiser steps and one after every validation."""

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.started, self.images = 0.0, 0
        self.printed_step = -1
        self.clock = Clock()

    def disable(self) -> None:
        """Print nothing; Lightning calls this on all processes but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Print again."""
        self.enabled = True

    def say(self, *parts: str) -> None:
        """Print the parts of a line at once, so that a log file can be followed."""
        if self.enabled:
            print(" · ".join(part for part in parts if part), flush=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure the whole run, and an epoch: one that goes on in its middle has no start of its own."""
        self.clock.start(trainer)
        self.started, self.images = time.monotonic(), 0

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
        # what is logged is the mean over processes and accumulated batches; what is handed on is this batch's share
        loss = trainer.callback_metrics["train/loss"]
        left = self.clock.left(trainer)
        self.say(
            epoch(trainer),
            f"step {step}",
            f"loss {float(loss):.4f}",
            f"lr {trainer.optimizers[0].param_groups[0]['lr']:.2e}",
            f"{self.images / max(1e-9, time.monotonic() - self.started):.1f} images/s",
            left and f"{left} left",
        )

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the scores of a validation during training."""
        if trainer.sanity_checking or not trainer.state.fn or trainer.state.fn.value != "fit":
            return
        scores = trainer.callback_metrics
        shown = [name for name in ("val/loss", "val/miou", "val/pixel_accuracy") if name in scores]
        left = self.clock.left(trainer)
        self.say(
            epoch(trainer),
            f"step {trainer.global_step}",
            *(f"{name} {float(scores[name]):.4f}" for name in shown),
            left and f"{left} left",
        )
