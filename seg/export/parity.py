"""Is the exported network the one that was trained? Compared in fp32, at sizes that the export never saw."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from seg.export.runtime import ExportedNetwork
from seg.labels import largest_class

AGREEMENT = 0.9999
"""Share of the labels that must be the same."""
NEAR = 0.99
"""Share of the values that must be close: where poolings hand on indices, a tie moves a value to another pixel."""
CLOSE = 1e-3
"""How far a logit may be off, in standard deviations of all logits; a probability, as it is."""


class Refused(Exception):
    """An export that is not good enough to be written."""


class Parity(NamedTuple):
    """What came out at one size.

    Args:
        size: (B, H, W) of the images.
        agreement: share of pixels with the same label.
        close: share of values that are close, 1 for labels.
        largest: the largest difference, in standard deviations of the logits; a probability, as it is.

    """

    size: tuple[int, int, int]
    agreement: float
    close: float
    largest: float

    def __str__(self) -> str:
        batch, height, width = self.size
        return (
            f"{batch}×{height}×{width}: {self.agreement:.4%} of labels the same, "
            f"{self.close:.4%} of values close, largest difference {self.largest:.1e}"
        )


@torch.no_grad()
def compare(original: Callable[[Tensor], Tensor], exported: ExportedNetwork, batches: Iterable[Tensor]) -> list[Parity]:
    """Return how well an exported network agrees with the original on batches of raw pixel values.

    Args:
        original: raw pixel values to logits, in fp32.
        exported: what was written.
        batches: (B, N, H, W), sizes may differ.

    """
    found = []
    for images in batches:
        logits = original(images).float().contiguous()
        result = exported.output(images)
        batch, _, height, width = logits.shape
        if exported.card.output == "labels":
            same = largest_class(logits) == result
            difference = torch.zeros(1)
        else:
            same = largest_class(logits) == largest_class(result)
            probabilities = exported.card.output == "probabilities"
            expected = logits.softmax(1) if probabilities else logits
            scale = 1.0 if probabilities else max(float(logits.std()), torch.finfo(torch.float32).tiny)
            difference = (result - expected).abs().nan_to_num(torch.inf) / scale
        close = float((difference <= CLOSE).double().mean())
        found.append(Parity((batch, height, width), float(same.double().mean()), close, float(difference.max())))
    return found


def holds(found: list[Parity]) -> bool:
    """Whether labels and values agree over the pixels of all sizes: of a small image's, one tie would be too many."""
    pixels = [math.prod(parity.size) for parity in found]
    same = sum(parity.agreement * number for parity, number in zip(found, pixels, strict=True))
    close = sum(parity.close * number for parity, number in zip(found, pixels, strict=True))
    return same >= AGREEMENT * sum(pixels) and close >= NEAR * sum(pixels)


def check(found: list[Parity]) -> None:
    """Refuse an export that differs from what was trained.

    Raises:
        Refused: naming what differs at each size.

    """
    if not holds(found):
        listed = "\n  ".join(map(str, found))
        raise Refused(
            f"what was exported is not what was trained: {AGREEMENT:.2%} of all labels must be the same and "
            f"{NEAR:.0%} of all values within {CLOSE} of each other, but there are\n  {listed}"
        )
