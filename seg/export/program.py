"""A checkpoint's network with all that surrounds it, traced by torch.export: raw pixel values in, an answer out."""

import copy
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seg.export.fold import fold
from seg.models.blocks import SMALLEST_SIZE

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from seg.export.card import Card
    from seg.task import SegmentationTask

HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""Name of a precision -> type of the weights and of what layers with weights compute in."""


class Exportable(nn.Module):
    """Take raw pixel values (B, N, H, W), give logits, probabilities or labels.

    Args:
        pixels: the normalisation, which stays in float32.
        net: the network, for evaluation.
        output: logits, probabilities (both float32 (B, C, H, W)) or labels, uint8 (B, H, W).

    """

    def __init__(self, pixels: nn.Module, net: nn.Module, output: str = "logits") -> None:
        super().__init__()
        self.pixels, self.net, self.output = pixels, net, output

    def forward(self, images: Tensor) -> Tensor:
        """Return what `output` says of images of raw pixel values."""
        result = self.net(self.pixels(images))
        logits: Tensor = (result[0] if isinstance(result, tuple) else result).float()
        if self.output == "probabilities":
            return logits.softmax(1)
        return logits.argmax(1).to(torch.uint8) if self.output == "labels" else logits


def exportable(task: "SegmentationTask", card: "Card") -> Exportable:
    """Return a task's network folded, in the precision and with the output that a card names (int8 comes later)."""
    pixels = copy.deepcopy(task.pixels).cpu()
    channels = len(card.mean)
    net, _ = fold(copy.deepcopy(task.net).cpu(), torch.randn(1, channels, 2 * SMALLEST_SIZE, 2 * SMALLEST_SIZE))
    if card.precision in HALVES:
        net = halve(net, HALVES[card.precision])
    return Exportable(pixels, net, card.output).eval()


def halve(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a network whose weights are of a half precision, and what meets a weight too.

    Autocast would tie the graph to one kind of device. What has no weights keeps the type that it is given: enlarged
    maps stay in float32, see `upsample`.
    """
    net = copy.deepcopy(net).to(dtype)

    def cast(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value.to(dtype) if _is_floating(value) else value for value in args)

    for module in net.modules():
        if isinstance(getattr(module, "weight", None), Tensor):
            module.register_forward_pre_hook(cast)
    return net


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def trace(module: Exportable, channels: int, dtype: str) -> "ExportedProgram":
    """Return the program of a module, with batch, height and width left free (32 pixels or more a side).

    Args:
        module: what is exported.
        channels: of the images.
        dtype: of the pixel values.

    """
    free = torch.export.Dim.DYNAMIC
    # No side is 1 or like another, or the graph would be tied to it; nor is one behind DeconvNet's fc6 (maps - 6).
    example = torch.zeros(2, channels, 11 * SMALLEST_SIZE, 13 * SMALLEST_SIZE, dtype=getattr(torch, dtype))
    with torch.no_grad():
        return torch.export.export(module, (example,), dynamic_shapes=({0: free, 2: free, 3: free},))


def write_program(program: "ExportedProgram", path: Path, card: "Card") -> None:
    """Write a torch.export package, the card beside the network inside it."""
    package = io.BytesIO()  # torch ends the process where it cannot write a file to its end
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No complete tensor found")  # weights in channels_last are complete
        torch.export.save(program, package, extra_files=card.entries())
    path.write_bytes(package.getbuffer())
