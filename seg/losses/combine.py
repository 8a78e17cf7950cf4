"""The weighted sum of several losses."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from seg.losses.base import Loss


class Sum(Loss):
    """Add losses, each with its weight and its name.

    Args:
        terms: losses by name; names appear in the log, as in `train/loss/dice`.
        weights: a factor for each term by name; 1 for those not named.
        ignore_index: the label of pixels that add neither loss nor gradient, handed to every term.

    Raises:
        ValueError: no terms, a weight for a term that does not exist, or a negative one.

    """

    def __init__(
        self, terms: dict[str, nn.Module], weights: dict[str, float] | None = None, ignore_index: int = 255
    ) -> None:
        super().__init__(ignore_index)
        if not terms:
            raise ValueError("terms: none given; name at least one loss")
        weights = weights or {}
        if unknown := sorted(set(weights) - set(terms)):
            raise ValueError(f"weights: {', '.join(unknown)} is no term; the terms are {', '.join(terms)}")
        if wrong := [f"{name} {weight}" for name, weight in weights.items() if not weight >= 0]:
            raise ValueError(f"weights: {', '.join(wrong)}, but a weight is 0 or more")
        for term in terms.values():
            term.ignore_index = ignore_index  # type: ignore[assignment]
        self.terms = nn.ModuleDict(terms)
        self.weights = {name: float(weights.get(name, 1.0)) for name in terms}
        self.last_terms: Mapping[str, Tensor] = {}
        """The detached terms, before weighting, of the last call, for logging."""

    @property
    def needs_pixel_counts(self) -> bool:
        """Whether one of the terms needs `set_pixel_counts` before the first step of a fit."""
        return any(getattr(term, "needs_pixel_counts", False) for term in self.terms.values())

    def set_pixel_counts(self, pixels: Tensor, image_pixels: Tensor) -> None:
        """Hand the counts to the terms that balance classes."""
        for term in self.terms.values():
            if isinstance(term, Loss):
                term.set_pixel_counts(pixels, image_pixels)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum for logits (B, C, H, W) and labels (B, H, W)."""
        losses = {name: term(logits, target) for name, term in self.terms.items()}
        self.last_terms = {name: loss.detach() for name, loss in losses.items()}
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
