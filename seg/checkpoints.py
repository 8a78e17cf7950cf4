"""Writing checkpoints so that nothing that was written is ever lost, and leaving one behind when a run is stopped."""

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from seg.files import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its target and rename it, so that every reader finds a whole one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write a checkpoint; addresses with a scheme (s3://…) are left to Lightning."""
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replacing(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


def best_checkpoint(folder: Path) -> ModelCheckpoint:
    """Return Lightning's callback that keeps `best.ckpt`, the one with the highest validation mIoU."""
    return ModelCheckpoint(
        dirpath=folder, filename="best", monitor="val/miou", mode="max", save_top_k=1, enable_version_counter=False
    )


class LastCheckpoint(Checkpoint):
    """Keep `last.ckpt` after every epoch, and write it on Ctrl-C or SIGTERM once the current step is complete.

    A second Ctrl-C stops at once; `last.ckpt` is then that of the last complete epoch.

    Args:
        folder: where `last.ckpt` is kept.

    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "last.ckpt"
        self.stop_asked = False
        self.saved_step = -1
        self.previous_handler: Any = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take over Ctrl-C for the time of a fit."""
        if stage == "fit" and threading.current_thread() is threading.main_thread():
            self.previous_handler = signal.signal(signal.SIGINT, self.ask_to_stop)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        if self.previous_handler is not None:
            signal.signal(signal.SIGINT, self.previous_handler)
            self.previous_handler = None

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Note the wish to stop; the second time stop at once."""
        if self.stop_asked:
            raise KeyboardInterrupt
        self.stop_asked = True
        print("\nstopping after this step (Ctrl-C again: at once, without saving it)", flush=True)

    def save(self, trainer: pl.Trainer) -> None:
        """Write `last.ckpt`."""
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.path, weights_only=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where a stop was asked for, once the optimiser step is complete; an epoch's last waits for its end."""
        complete = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self.stop_asked and complete and not trainer.is_last_batch:
            self.save(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop where that was asked for, once the saved step has been logged as well."""
        self.stop_if_saved(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before a validation within the epoch, likewise."""
        self.stop_if_saved(trainer)

    def stop_if_saved(self, trainer: pl.Trainer) -> None:
        """Raise KeyboardInterrupt if it was asked for and nothing would be lost."""
        if self.stop_asked and self.saved_step == trainer.global_step:
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after every epoch."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.save(trainer)
        if self.stop_asked:
            raise KeyboardInterrupt

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save on SIGTERM, which Lightning raises between steps; after other errors the state may be half changed."""
        if isinstance(exception, SIGTERMException) and self.saved_step != trainer.global_step:
            self.save(trainer)
