"""What a run notes about itself: how long each part took, how much memory it needed. Where it ran: `seg.provenance`."""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning.callbacks import Callback

from seg.files import replacing
from seg.report.record import FOLDER


class Journal(Callback):
    """Keep `records/run.json`: seconds of training, validation and test, images, peak memory.

    Args:
        folder: the run folder.

    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / FOLDER / "run.json"
        self.content: dict[str, Any] = {}
        self.since: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin, or go on where the journal of a resumed run ends."""
        before: dict[str, Any] = {}
        if trainer.global_step and self.path.is_file():
            with suppress(OSError, ValueError, AttributeError):
                before = dict(json.loads(self.path.read_text(encoding="utf-8")))
        self.content = {
            "network": type(pl_module.net).__name__,
            "parameters": sum(parameter.numel() for parameter in pl_module.net.parameters()),
            "started": before.get("started", time.time()),
            "resumed": int(before.get("resumed", -1)) + 1,
            "seconds": {"train": 0.0, "val": 0.0, "test": 0.0} | before.get("seconds", {}),
            "images": before.get("images", 0),
        }
        self._begin("train")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Count the images."""
        self.content["images"] += len(batch["mask"]) * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop the clock of the training, start the validation's."""
        if not trainer.sanity_checking:
            self._end("train")
            self._begin("val")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write what is known, so that a run that crashes leaves it."""
        if not trainer.sanity_checking and self.content:
            self._end("val")
            self._write(trainer)
            self._begin("train")

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop the clock and write."""
        self._end("train")
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Write what is known of a run that is stopped, and goes on from here; one that crashed repeats steps."""
        if isinstance(exception, KeyboardInterrupt | SystemExit):
            self._end("train")
            self._write(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start the test's clock."""
        self._begin("test")

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stop it and write."""
        self._end("test")
        self._write(trainer)

    def _begin(self, part: str) -> None:
        self.since[part] = time.monotonic()

    def _end(self, part: str) -> None:
        if part in self.since and self.content:
            self.content["seconds"][part] += time.monotonic() - self.since.pop(part)

    def _write(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero or not self.content:
            return
        self.content |= {"written": time.time(), "step": trainer.global_step, "epoch": trainer.current_epoch}
        self.content["memory"] = peak_memory()
        try:
            with replacing(self.path) as temporary:
                temporary.write_text(json.dumps(self.content), encoding="utf-8")
        except OSError as error:  # the run matters more than its journal
            rank_zero_warn(f"{self.path} cannot be written: {error}")


def peak_memory() -> dict[str, float]:
    """Return the most memory that the first process has held so far, in MB: "RAM", and "GPU" where it uses one."""
    found = {}
    with suppress(ImportError):  # Unix alone has it
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
        found["RAM"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    if torch.cuda.is_available():
        found["GPU"] = torch.cuda.max_memory_allocated() / 1e6
    return found
