"""A callback with which the tests see what every process is shown."""

import json
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback

from seg.data import Labelme
from seg.data.labelme import LabelmeReader


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


class Gradients(Callback):
    """Keep the gradients of every optimiser step, as they were after all that happened to them, in a file a process."""

    def __init__(self, folder: str) -> None:
        self.folder, self.steps = folder, []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx) -> None:
        if trainer.global_step > len(self.steps):
            self.steps.append({name: value.grad.clone() for name, value in task.named_parameters()})

    def on_train_end(self, trainer, task) -> None:
        torch.save(self.steps, Path(self.folder) / f"gradients_{trainer.global_rank}.pt")


def gradients(folder: Path, rank: int = 0) -> list[dict[str, torch.Tensor]]:
    """Return what `Gradients` kept of a process."""
    return torch.load(folder / f"gradients_{rank}.pt", weights_only=True)


class CountedReader(LabelmeReader):
    """Write a line for each mask that is drawn."""

    def mask(self, pair):
        with (Path(pair.mask).parent / "drawn.txt").open("a") as file:
            file.write(f"{pair.id}\n")
        return super().mask(pair)


class CountedLabelme(Labelme):
    """labelme files of which each drawing of a mask is written down."""

    def reader(self):
        return CountedReader(self.values, self.drawing)
