"""An exported network run again: ONNX Runtime or torch.export behind what a checkpoint's task offers for predicting."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seg.export.archive import read_package
from seg.export.card import Card
from seg.export.onnx_file import need
from seg.loading import EXPORTED, found_device
from seg.models.blocks import SMALLEST_SIZE

_CERTAIN = 100.0
"""Logit of what label files deny, below zero: softmax then gives 0 there and 1 at the label, exactly."""


class ExportedNetwork:
    """Run a file written by `seg export`.

    Args:
        path: an `.onnx` or `.pt2` file.
        device: cpu, cuda, cuda:1; auto takes a GPU where there is one that the runtime can use.
        providers: ONNX Runtime's execution providers by name, instead of those of the device.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an export of seg, damaged, or a device that is not to be had.
        ImportError: onnxruntime is not installed.

    """

    def __init__(self, path: str | Path, device: str = "auto", providers: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file")
        suffix = self.path.suffix.lower()
        if suffix not in EXPORTED:
            raise ValueError(f"{path}: an exported network ends in {' or '.join(EXPORTED)}")
        self._run: Callable[[Tensor], Tensor]
        if suffix == ".onnx":
            self.card, self._run, self.device = _onnx(self.path, device, providers)
        else:
            self.card, self._run, self.device = _package(self.path, device)
        self.class_names, self.class_colors = self.card.class_names, self.card.class_colors
        self.image_kind, self.ignore_index = self.card.image_kind, self.card.ignore_index
        self.mean, self.std, self.clip, self.resize = (
            self.card.mean,
            self.card.std,
            self.card.clip,
            self.card.resize,
        )

    @property
    def has_probabilities(self) -> bool:
        """Whether probabilities can be had: not of a file that was exported with labels alone."""
        return self.card.output != "labels"

    def output(self, images: Tensor) -> Tensor:
        """Return what the file was exported with, of raw pixel values (B, N, H, W), on `device`.

        Raises:
            ValueError: images of another type, of other channels, or of fewer than 32 pixels a side.

        """
        expected = getattr(torch, self.card.dtype)
        if images.ndim != 4 or images.shape[1] != len(self.mean) or images.dtype != expected:
            raise ValueError(
                f"images: shape {tuple(images.shape)} of {images.dtype}, but {self.path} takes "
                f"(batch, {len(self.mean)}, height, width) of {expected}"
            )
        if min(images.shape[2:]) < SMALLEST_SIZE:
            raise ValueError(
                f"images: {images.shape[2]}×{images.shape[3]} pixels, but {self.path} takes "
                f"{SMALLEST_SIZE}×{SMALLEST_SIZE} or more"
            )
        with torch.inference_mode():
            return self._run(images)

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits float32 (B, C, H, W) of raw pixel values (B, N, H, W), on `device`.

        A file of probabilities gives their logarithms: the logits but for a constant a pixel, which softmax and labels
        do not see. A file of labels gives 0 at the label and −100 elsewhere: right labels, and no probabilities.

        Raises:
            ValueError: images that the file does not take.

        """
        result = self.output(images)
        if self.card.output == "probabilities":
            return result.clamp(min=torch.finfo(torch.float32).tiny).log()
        if self.card.output == "labels":
            classes = torch.arange(len(self.class_names), device=result.device).view(-1, 1, 1)
            return (result[:, None] != classes).float() * -_CERTAIN
        return result


def _onnx(
    path: Path, device: str, providers: Sequence[str] | None
) -> tuple[Card, Callable[[Tensor], Tensor], torch.device]:
    """Return card, function and device of an ONNX file."""
    need("onnxruntime")
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if device == "auto":
        device = "cuda" if "CUDAExecutionProvider" in available and torch.cuda.is_available() else "cpu"
    where = found_device(device)
    if providers is None and where.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {device}: {path} runs on cpu or cuda; export to .pt2 for others")
    chosen: list[Any] = list(providers or ["CPUExecutionProvider"])
    if providers is None and where.type == "cuda":
        chosen = [("CUDAExecutionProvider", {"device_id": where.index or 0}), *chosen]
    for provider in chosen:
        name = provider if isinstance(provider, str) else provider[0]
        if name not in available:
            raise ValueError(
                f"--device {device}: the onnxruntime installed here has no {name} (it has {', '.join(available)}); "
                "take cpu, or install onnxruntime-gpu"
            )
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3  # errors; its warnings are about its own choices
    try:
        session = onnxruntime.InferenceSession(os.fspath(path), settings, providers=chosen)
        held = dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # onnxruntime's exceptions have no common ancestor of their own
        raise ValueError(f"{path} is not an ONNX file, or is damaged: {str(error).splitlines()[0][:300]}") from error
    card = Card.of_entries(held, path)
    given = {value.name: (value.type, len(value.shape), value.shape[1]) for value in session.get_inputs()}
    kind = {"uint8": "tensor(uint8)", "uint16": "tensor(uint16)", "float32": "tensor(float)"}[card.dtype]
    results = [value.name for value in session.get_outputs()]
    if given != {"images": (kind, 4, len(card.mean))} or results != [card.output]:
        raise ValueError(
            f"{path}: inputs {given} and outputs {results} are not those that it describes "
            f"(images of {card.dtype} with {len(card.mean)} channels, {card.output}); export it again"
        )

    def run(images: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(images.cpu().numpy())
        try:
            (result,) = session.run(None, {"images": pixels})
        except Exception as error:
            raise ValueError(f"{path}: {str(error).splitlines()[0][:300]}") from error
        return torch.from_numpy(result).to(where)

    return card, run, where


def _package(path: Path, device: str) -> tuple[Card, Callable[[Tensor], Tensor], torch.device]:
    """Return card, function and device of a torch.export package."""
    program, texts = read_package(path)
    card = Card.of_entries(texts, path)
    where = found_device(device)
    if where.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, where)
    # The trace has guards, and a hook before it, that speak of strides and not of results: they refuse sides of 32
    # pixels, and of less than 225 for DeconvNet.
    forward = program.module(check_guards=False).forward

    def run(images: Tensor) -> Tensor:
        result: Tensor = forward(images.to(where))
        return result

    return card, run, where
