"""A network without a task or a run, so that every kind can go through the exports quickly."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from seg.export.card import Card
from seg.export.onnx_file import write_onnx
from seg.export.program import exportable, trace, write_program
from seg.normalize import Normalize

FACTS: dict[str, Any] = {
    "class_names": ["wall", "floor", "stuhl ü"],
    "class_colors": [[0, 0, 0], [10, 20, 30], [255, 0, 1]],
    "ignore_index": 255,
    "image_kind": ["rgb", "uint8"],
    "mean": [120.0, 110.0, 100.0],
    "std": [60.0, 61.0, 62.0],
    "clip": None,
    "resize": None,
    "output": "logits",
    "precision": "fp32",
    "network": "UNet",
}


def card(**facts: object) -> Card:
    """Return a card of three classes; arguments replace its facts."""
    return Card(**{**FACTS, **facts})


def task_of(net: nn.Module, described: Card) -> Any:
    """Return what exports take of a task, with raw pixel values to logits as its call."""
    pixels = Normalize(described.mean, described.std, described.clip)

    class Task(SimpleNamespace):
        def __call__(self, images):
            with torch.no_grad():
                result = net(pixels(images))
            return result[0] if isinstance(result, tuple) else result

    return Task(net=net, pixels=pixels)


def written(net: nn.Module, path: Path, described: Card) -> Path:
    """Write a network as the command does."""
    program = trace(exportable(task_of(net, described), described), len(described.mean), described.dtype)
    (write_onnx if path.suffix == ".onnx" else write_program)(program, path, described)
    return path
