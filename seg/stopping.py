"""`last.ckpt`: after every epoch, every few minutes, and when a run is asked to stop, agreed by all processes."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from seg.checkpoints import keep_previous
from seg.files import sweep
from seg.loggers import CSV, run_folder
from seg.runs import LAST

GPU_AGREES_EVERY = 10
"""Optimiser steps between two questions to the other processes on GPUs, where every answer is waited for."""


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt` and the one before it, `last-previous.ckpt`.

    Written after every epoch, within an epoch every few minutes, and once the current optimiser step is complete when
    the run is asked to stop by Ctrl-C or SIGTERM, in all processes after the same step. A second Ctrl-C stops at once.

    Args:
        folder: where they are kept; `checkpoints` in the run folder where not given.
        every_minutes: what a killed run may lose within an epoch at most; null for whole epochs.
        every_n_steps: the same in optimiser steps.

    Raises:
        ValueError: an interval that is not positive.

    """

    def __init__(
        self, folder: Path | None = None, every_minutes: float | None = 15.0, every_n_steps: int | None = None
    ) -> None:
        for name, value in (("every_minutes", every_minutes), ("every_n_steps", every_n_steps)):
            if value is not None and value <= 0:
                raise ValueError(f"{name}: {value} must be positive; null saves after every epoch alone")
        self.path = folder / LAST if folder is not None else None
        self.every_minutes, self.every_n_steps = every_minutes, every_n_steps
        self.asked: int | None = None
        self.agreed: int | None = None
        self.postponed: int | None = None
        self.saved_step, self.saved_at, self.flushed = -1, time.monotonic(), True
        self.handlers: dict[int, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove what killed runs left half written."""
        if stage != "fit":
            return
        run = run_folder(trainer)
        if self.path is None and run is not None:
            self.path = run / "checkpoints" / LAST
        if self.path is not None and trainer.is_global_zero:
            sweep(self.path.parent)
            sweep(self.path.parent.parent)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over Ctrl-C, and SIGTERM: Lightning's own handler stops in the midst of accumulated batches.

        Not before Lightning has set up its own: at the end it puts back what it found.
        """
        self.take(signal.SIGINT)
        self.take(signal.SIGTERM)
        self.saved_at = time.monotonic()

    def take(self, number: int) -> None:
        """Handle a signal for the time of a fit."""
        if threading.current_thread() is threading.main_thread():
            self.handlers[number] = signal.signal(number, self.ask_to_stop)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        self.give_back()

    def give_back(self) -> None:
        """Leave the signals to whoever had them, where nobody has taken them meanwhile: Lightning goes first."""
        for number, handler in self.handlers.items():
            if signal.getsignal(number) == self.ask_to_stop:
                signal.signal(number, handler)
        self.handlers = {}

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Note the wish to stop; at a second Ctrl-C stop at once."""
        if self.asked is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.asked = number
        # not by print: a signal may arrive while a line is being printed, and Python refuses to enter that twice
        os.write(1, b"\nstopping after this step (Ctrl-C again: at once, without saving it)\n")

    def save(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt`; what was logged until then is written first."""
        if self.path is None:
            return
        self.flush(trainer)
        # what was found damaged, and not gone on from, must not take the place of the one before
        trusted = self.saved_step >= 0 or str(trainer.ckpt_path) == str(self.path)
        if trainer.is_global_zero and trusted:
            keep_previous(self.path)
        trainer.save_checkpoint(self.path, weights_only=False)
        self.saved_step, self.saved_at, self.flushed = trainer.global_step, time.monotonic(), False

    def flush(self, trainer: pl.Trainer) -> None:
        """Write the numbers that are logged so far: a resumed run does not make them again."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, CSV):
                    logger.flush()
        self.flushed = True

    def wishes(self, trainer: pl.Trainer) -> int:
        """Return 2 or more (the signal's number) if any process is asked to stop, 1 if it is time to save, else 0."""
        step = trainer.global_step
        minutes = (time.monotonic() - self.saved_at) / 60
        due = self.every_minutes is not None and minutes >= self.every_minutes
        # known to all processes without asking, unlike the time, so that it passes where they are seldom asked
        counted = self.every_n_steps is not None and step % self.every_n_steps == 0
        due = due or counted
        seldom = trainer.world_size > 1 and trainer.strategy.root_device.type != "cpu"
        if seldom and step % GPU_AGREES_EVERY and not counted:
            return 0
        return strongest(trainer, self.asked or int(due))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where that is asked for, once the optimiser step is complete; an epoch's last waits for its end."""
        complete = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not complete or trainer.is_last_batch or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if wish := self.wishes(trainer):
            # Lightning counts a validation that a checkpoint was written in front of as done
            self.postponed = wish if validates_next(trainer, batch_idx) else None
            if self.postponed is None:
                self.save_and_agree(trainer, wish)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what had to wait for a validation within the epoch."""
        if self.postponed is not None and not trainer.is_last_batch:
            self.save_and_agree(trainer, self.postponed)
        self.postponed = None

    def save_and_agree(self, trainer: pl.Trainer, wish: int) -> None:
        """Save, and end the run before the next step where that was the wish."""
        self.save(trainer)
        self.agreed = wish if wish > 1 else None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop where that was agreed, once the saved step has been logged as well."""
        if not self.flushed:
            self.flush(trainer)
        self.stop_if_agreed()

    def stop_if_agreed(self) -> None:
        """Raise what ends the run if all processes are to end it here."""
        if self.agreed == signal.SIGTERM:
            raise SIGTERMException
        if self.agreed is not None:
            raise SystemExit(130)  # at a KeyboardInterrupt Lightning kills the processes that it started, this one too

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after every epoch."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self.save(trainer)
        self.agreed = strongest(trainer, self.asked or 0) or None
        self.stop_if_agreed()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keep the numbers that were logged; the state itself may be half changed and is not saved."""
        with suppress(OSError):  # on a full disk the first error is the one to tell
            self.flush(trainer)
        main = bool(self.handlers)
        self.give_back()  # there will be no teardown
        if main and self.agreed is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # until Lightning has shut down, and gives back what it found


def in_order(trainer: pl.Trainer) -> bool:
    """Tell whether a run was stopped by one Ctrl-C, saved before it ended; a second one is not to be kept waiting."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(callback, LastCheckpoint) and callback.agreed is not None for callback in callbacks)


def strongest(trainer: pl.Trainer, wish: int) -> int:
    """Return the largest wish of all processes."""
    if trainer.world_size == 1:
        return wish
    return int(trainer.strategy.reduce(torch.tensor(wish, device=trainer.strategy.root_device), reduce_op="max"))


def validates_next(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Tell whether a validation within the epoch follows a batch."""
    every, epochs = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if not trainer.enable_validation or (epochs and (trainer.current_epoch + 1) % epochs):
        return False
    if (seconds := getattr(trainer, "_val_check_time_interval", None)) is not None:  # val_check_interval: a time
        passed = time.monotonic() - trainer._last_val_time  # type: ignore[attr-defined]
        return bool(strongest(trainer, int(passed >= seconds)))
    if not isinstance(every, int):
        return False
    if epochs is None:
        return (trainer.fit_loop.total_batch_idx + 1) % every == 0
    return (batch_idx + 1) % every == 0
