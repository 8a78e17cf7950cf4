"""From a file to what predicts with it: a run's checkpoint, or what `seg export` made of one."""

import pydoc
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seg.infer import Predictor

if TYPE_CHECKING:
    from seg.task import SegmentationTask

EXPORTED = (".onnx", ".pt2")
"""Suffixes of exported networks; everything else is taken for a checkpoint."""


class TaskNetwork:
    """Ask the task of a checkpoint.

    Args:
        task: in evaluation mode.
        precision: number format as the Trainer names it; that of the training run where not given.

    """

    def __init__(self, task: "SegmentationTask", precision: str | None = None) -> None:
        self.task = task
        self.precision = precision or task.trained_precision
        self.class_names, self.class_colors = task.class_names, task.class_colors
        self.image_kind, self.ignore_index = task.image_kind, task.ignore_index
        self.mean, self.std = (values.flatten().tolist() for values in (task.pixels.mean, task.pixels.std))
        self.clip: list[list[float]] | None = task.hparams.get("clip")
        self.resize = task.resize
        self.device: torch.device = task.device

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits (B, C, H, W) of images (B, N, H, W) of raw pixel values."""
        with autocast(self.device, self.precision):
            logits: Tensor = self.task(images)
        return logits


def load(
    checkpoint: str | Path, device: str | torch.device = "auto", precision: str | None = None, **options: Any
) -> Predictor:
    """Return what predicts images with a checkpoint or an exported network.

    On a CPU the process keeps the memory that one image has needed for the next, see `seg.trainer.keep_freed_memory`.

    Args:
        checkpoint: a run's best.ckpt, or what `seg export` wrote (.onnx, .pt2).
        device: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one.
        precision: 32, bf16-mixed or 16-mixed; that of the training run where not given.
        **options: see `Predictor`: tile, overlap, margin, batch_size, whole, flips, scales.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a checkpoint of `seg`, a device that is not there, or a setting that cannot be.

    """
    checkpoint = Path(checkpoint)
    if checkpoint.suffix.lower() not in EXPORTED:
        task = load_task(checkpoint, device)
        if task.device.type == "cpu":
            from seg.trainer import keep_freed_memory

            keep_freed_memory()  # a large image takes up to half as long again without
        return Predictor(TaskNetwork(task, precision), **options)
    if precision not in (None, "32"):
        raise ValueError(f"--precision {precision}: {checkpoint} computes as it was exported; leave the option out")
    from seg.export.runtime import ExportedNetwork

    return Predictor(ExportedNetwork(checkpoint, device=str(device)), **options)


def load_task(checkpoint: Path, device: str | torch.device = "auto") -> "SegmentationTask":
    """Return the task of a checkpoint, ready to predict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint of `seg`, or of a network whose class is not to be had here.

    """
    from seg.entry import absent, read_checkpoint
    from seg.task import SegmentationTask

    if not checkpoint.is_file():
        raise absent(checkpoint)
    place = found_device(device)
    try:
        task: SegmentationTask = SegmentationTask.load_from_checkpoint(
            checkpoint, map_location="cpu", weights_only=True
        )
    except Exception as error:  # of torch's reader, of the parser that builds the network, of the network itself
        held = read_checkpoint(checkpoint)  # says what is wrong with the file, if anything is
        if missing := list(missing_classes(held["hyper_parameters"])):
            raise ValueError(
                f"{checkpoint} needs {', '.join(missing)}, which cannot be imported here; make it importable: install "
                "its package, or name the folder that it lies in by PYTHONPATH"
            ) from error
        raise ValueError(f"{checkpoint} cannot be built by this version of seg, or is damaged: {error}") from error
    return task.eval().to(place)


def missing_classes(settings: Any) -> Iterator[str]:
    """Yield the class paths in a checkpoint's settings that lead to nothing here."""
    if isinstance(settings, list):
        for value in settings:
            yield from missing_classes(value)
    elif isinstance(settings, dict):
        path = settings.get("class_path")
        if isinstance(path, str):
            try:
                found = pydoc.locate(path)
            except pydoc.ErrorDuringImport:
                found = None
            if found is None:
                yield path
        yield from missing_classes(list(settings.values()))


def found_device(device: str | torch.device) -> torch.device:
    """Return a device that can be computed on.

    Raises:
        ValueError: it is not to be had here.

    """
    if str(device) == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: not to be had here ({str(error).splitlines()[0]}); try cpu") from error


def autocast(device: torch.device, precision: str) -> "AbstractContextManager[Any]":
    """Return the context that computes in a precision as the Trainer names it; fp16 is for GPUs, a CPU takes fp32."""
    if precision.startswith("bf16"):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    if precision.startswith("16") and device.type != "cpu":
        return torch.autocast(device.type, dtype=torch.float16)
    return nullcontext()
