"""Predicting files: images in; masks, pictures of them, annotations to correct and tables out.

`seg.load` is the way to predict from Python; what is here beside the command are the pieces for one image and a task.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg.predict.command import main
from seg.predict.inputs import SUFFIXES, images_in
from seg.predict.plan import outputs_of
from seg.predict.run import predict_files

if TYPE_CHECKING:
    import numpy as np

    from seg.data.pixels import Pixels
    from seg.task import SegmentationTask

__all__ = [
    "SUFFIXES",
    "autocast",
    "images_in",
    "load",
    "main",
    "outputs_of",
    "pixels_of",
    "predict_files",
    "predict_labels",
    "visible",
]


def load(checkpoint: Path, device: str = "auto") -> "SegmentationTask":
    """Return the task of a checkpoint, see `seg.loading.load_task`."""
    from seg.loading import load_task

    return load_task(checkpoint, device)


def pixels_of(task: "SegmentationTask") -> "Pixels":
    """Return what images the task was trained on, to read others in the same way."""
    from seg.infer import Predictor
    from seg.loading import TaskNetwork

    return Predictor(TaskNetwork(task)).pixels


def predict_labels(task: "SegmentationTask", image: "np.ndarray", precision: str | None = None) -> "np.ndarray":
    """Return the labels uint8 (H, W) of an image (H, W, N) of raw pixel values at its own size."""
    from seg.infer import Predictor
    from seg.loading import TaskNetwork

    return Predictor(TaskNetwork(task, precision)).labels(image)


def visible(image: "np.ndarray", task: "SegmentationTask") -> "np.ndarray":
    """Return an image (H, W, N) so that it can be looked at, see `seg.predict.one.visible`."""
    from seg.loading import TaskNetwork
    from seg.predict.one import visible

    return visible(image, TaskNetwork(task))


def autocast(task: "SegmentationTask", precision: str) -> "AbstractContextManager[Any]":
    """Return the context that computes a task in a precision, see `seg.loading.autocast`."""
    from seg.loading import autocast

    return autocast(task.device, precision)
