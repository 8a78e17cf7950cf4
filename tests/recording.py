"""A callback with which the tests see what every process is shown."""

import json
from pathlib import Path

from pytorch_lightning.callbacks import Callback


class Record(Callback):
    """Write a line for each training batch to a file of this process: epoch, batch, names, size, sum of the labels."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_train_batch_start(self, trainer, task, batch, batch_idx) -> None:
        seen = [trainer.current_epoch, batch_idx, batch["id"], list(batch["image"].shape), int(batch["mask"].sum())]
        with (Path(self.folder) / f"rank_{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(seen) + "\n")


def recorded(folder: Path, rank: int = 0) -> list[list]:
    """Return what a process was shown."""
    return [json.loads(line) for line in (folder / f"rank_{rank}.jsonl").read_text().splitlines()]


def recording(folder: Path) -> str:
    """Return the callback as the command line takes it."""
    return f"{{class_path: tests.recording.Record, init_args: {{folder: '{folder}'}}}}"
