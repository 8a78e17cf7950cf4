"""Lovász-softmax: Berman, Triki, Blaschko, "The Lovász-Softmax loss", CVPR 2018."""

from typing import Literal

import torch
from torch import Tensor

from seg import apple
from seg.losses.base import Loss
from seg.losses.region import mean_of_classes


class Lovasz(Loss):
    """Average over classes the Lovász extension of 1 − IoU, a convex surrogate of the score itself.

    Args:
        absent: skip leaves out classes that no valid pixel of the truth has, include counts them.
        per_image: false takes the pixels of the whole batch together, true averages the losses of its images.
        ignore_index: the label of pixels that add neither loss nor gradient.

    Raises:
        ValueError: another word for `absent`.

    """

    def __init__(
        self, absent: Literal["skip", "include"] = "skip", per_image: bool = False, ignore_index: int = 255
    ) -> None:
        super().__init__(ignore_index)
        if absent not in ("skip", "include"):
            raise ValueError(f"absent: '{absent}' is neither skip nor include")
        self.absent = absent
        self.per_image = per_image

    def compute(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of checked float32 or float64 logits and int64 labels."""
        probabilities = logits.softmax(1)
        rows = zip(probabilities, target, strict=True) if self.per_image else [(probabilities.transpose(0, 1), target)]
        results = [self._classes(row, labels.flatten()) for row, labels in rows]
        losses, truth = (torch.stack(column) for column in zip(*results, strict=True))
        return mean_of_classes(losses, truth, self.absent)

    def _classes(self, probabilities: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return each class's loss and pixels (C,) of probabilities (C, …) and labels (N,)."""
        losses, truth = [], []
        valid = target != self.ignore_index
        for index, probability in enumerate(probabilities):
            is_class = target == index
            with torch.no_grad():
                slope = _slopes(probability.detach().flatten(), is_class, valid)
                # The error is 1 − p where the class is, p elsewhere: linear in p, so the slopes are all that is kept.
                signed = torch.where(is_class, -slope, slope)
                constant = slope[is_class].sum() if slope.device.type == "cpu" else (slope * is_class).sum()
            losses.append((probability * signed.view_as(probability)).sum() + constant)
            truth.append(is_class.sum())
        return torch.stack(losses), torch.stack(truth)


def _slopes(probability: Tensor, is_class: Tensor, valid: Tensor) -> Tensor:
    """Return the derivative of the extension by each pixel's error (N,): algorithm 1 of the paper, in pixel order."""
    # Ignored pixels sort behind all others, where they change no count that comes before, and have no slope.
    errors = torch.where(is_class, 1 - probability, probability).masked_fill_(~valid, -1.0)
    order = errors.argsort(descending=True)
    # float64: beyond 2 ** 24 pixels float32 cannot count.
    wide = apple.widest(errors.device)
    found = is_class[order].to(wide).cumsum(0)
    seen = torch.arange(1, len(order) + 1, dtype=wide, device=order.device)
    pixels = found[-1:]
    jaccard = 1 - (pixels - found) / (pixels + seen - found)
    steps = jaccard.diff(prepend=jaccard.new_zeros(1)).to(probability.dtype)
    return torch.empty_like(steps).scatter_(0, order, steps) * valid
