"""Losses that are a mean over pixels: cross-entropy, with class weights and hard example mining, and focal."""

from collections.abc import Sequence
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seg import apple
from seg.losses.balance import BALANCES, balance
from seg.losses.base import Loss
from seg.pixel_mean import denominator


class ClassWeighted(Loss):
    """Keep a weight for each class, given as a list or computed from the training split's pixel counts.

    A weighted mean divides by the sum of the weights of its pixels, as torch's does; in the training of several
    processes by that of all processes' pixels (see `seg.pixel_mean`).

    Args:
        class_weights: a weight ≥ 0 for each class, one of BALANCES (see `balance`), or null for equal weights.
        ignore_index: the label of pixels that add neither loss nor gradient.

    """

    class_weights: Tensor | None
    is_pixel_mean = True

    def __init__(self, class_weights: Sequence[float] | str | None, ignore_index: int, setting: str) -> None:
        super().__init__(ignore_index)
        if isinstance(class_weights, (int, float)):
            raise ValueError(f"{setting}: {class_weights}, but every class needs its own weight: give a list")
        self._setting = setting
        self._balance = class_weights if isinstance(class_weights, str) else None
        if self._balance is not None and self._balance not in BALANCES:
            raise ValueError(
                f"{setting}: '{self._balance}' is none of {', '.join(BALANCES)}; or give a list of weights"
            )
        weights = None
        if class_weights is not None and not isinstance(class_weights, str):
            weights = torch.tensor([float(weight) for weight in class_weights])
            if not (weights.isfinite() & (weights >= 0)).all() or not weights.any():
                raise ValueError(f"{setting}: {list(class_weights)}, but weights are ≥ 0, finite, and not all 0")
        self.register_buffer("class_weights", weights)

    @property
    def needs_pixel_counts(self) -> bool:
        """Whether `set_pixel_counts` must be called before the first step of a fit."""
        return self._balance is not None and self.class_weights is None

    def set_pixel_counts(self, pixels: Tensor, image_pixels: Tensor) -> None:
        """Compute the weights where the settings name a way to; see `balance`."""
        if self._balance is not None:
            self.class_weights = balance(pixels, image_pixels, self._balance).to(device=self._device(pixels))

    def _device(self, pixels: Tensor) -> torch.device:
        return pixels.device if self.class_weights is None else self.class_weights.device

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # Computed weights come with the checkpoint: a loss that has not seen the counts takes them from there.
        stored = state_dict.get(prefix + "class_weights")
        if self._balance is not None and stored is not None:
            self.class_weights = torch.empty_like(stored) if self.class_weights is None else self.class_weights
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[arg-type]

    def weights_for(self, logits: Tensor) -> Tensor | None:
        """Return the weights in the type and on the device of the logits, or None for equal ones.

        Raises:
            ValueError: their number differs from the logits' channels, or they have not been computed yet.

        """
        if self.class_weights is None:
            if self._balance is not None:
                raise ValueError(
                    f"{self._setting}: {self._balance} is computed from the training split at the start of a fit, "
                    "which has not happened; fit first, load a checkpoint, or give a list"
                )
            return None
        if len(self.class_weights) != logits.shape[1]:
            raise ValueError(
                f"{self._setting}: {len(self.class_weights)} weights for {logits.shape[1]} classes; give one a class"
            )
        return self.class_weights.to(logits)

    def mean(self, losses: Tensor, target: Tensor, weights: Tensor | None, kept: Tensor) -> Tensor:
        """Divide the sum of weighted pixel losses (B, H, W) by the sum of the weights of the pixels `kept`."""
        if weights is None:
            return losses.sum() / denominator(kept.sum())
        return losses.sum() / denominator((weights[torch.where(kept, target, 0)] * kept).sum())


class CrossEntropy(ClassWeighted):
    """Average the cross-entropy over the pixels that are not ignored.

    Args:
        class_weights: a weight for each class, one of auto, median_frequency, inverse_square_root, effective_number,
            enet (computed at the start of a fit from the training split's pixels and kept in the checkpoint), or null.
        label_smoothing: share of the target spread evenly over all classes, 0 ≤ share < 1 (Szegedy et al. 2016).
        hard_below: online hard example mining: only pixels whose class has a probability below this count (0.7 is
            usual); null for all pixels.
        min_hard: with `hard_below`, at least this many pixels an image (the hardest of the batch) count. Each process
            chooses among its own.
        ignore_index: the label of pixels that add neither loss nor gradient.

    Raises:
        ValueError: an argument outside these ranges; in `forward`, weights or labels that do not fit the logits.

    """

    def __init__(
        self,
        class_weights: list[float] | str | None = None,
        label_smoothing: float = 0.0,
        hard_below: float | None = None,
        min_hard: int = 10_000,
        ignore_index: int = 255,
    ) -> None:
        super().__init__(class_weights, ignore_index, "class_weights")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing: {label_smoothing}, but the share is at least 0 and below 1")
        if hard_below is not None and not 0 < hard_below <= 1:
            raise ValueError(f"hard_below: {hard_below}, but a probability above 0 and up to 1 is expected, or null")
        if min_hard < 1:
            raise ValueError(f"min_hard: {min_hard}, but at least 1 pixel an image must count")
        self.label_smoothing = label_smoothing
        self.hard_below = hard_below
        self.min_hard = min_hard

    def compute(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of checked float32 or float64 logits and int64 labels."""
        weights = self.weights_for(logits)
        kept = target != self.ignore_index
        if self.hard_below is not None:
            kept = kept & self._hard(logits.detach(), target, self.hard_below)
            target = torch.where(kept, target, self.ignore_index)
        losses = pixel_losses(logits, target, self.ignore_index, weights, self.label_smoothing)
        return self.mean(losses, target, weights, kept)

    def _hard(self, logits: Tensor, target: Tensor, below: float) -> Tensor:
        """Return which pixels are hard (B, H, W); without looking at values, so that a GPU is not waited for."""
        losses = pixel_losses(logits, target, self.ignore_index)
        count = min(self.min_hard * len(logits), losses.numel())
        # The count-th largest; topk, since kthvalue has no deterministic CUDA kernel.
        hardest = losses.flatten().topk(count, sorted=False).values.min()
        return (losses > -log(below)) | (losses >= hardest)


class Focal(ClassWeighted):
    """Average (1 − p) ** gamma · cross-entropy, p the probability of the true class (Lin et al. 2017, softmax form).

    Not comparable with smp's, which takes every class for a binary problem of its own, nor, but for a factor of the
    number of classes, with MONAI's, which averages over classes too.

    Args:
        gamma: how much easy pixels lose weight, ≥ 0; 0 gives the cross-entropy.
        alpha: weights of the classes, as `class_weights` of CrossEntropy.
        ignore_index: the label of pixels that add neither loss nor gradient.

    Raises:
        ValueError: a negative gamma, or weights that do not fit the logits.

    """

    def __init__(self, gamma: float = 2.0, alpha: list[float] | str | None = None, ignore_index: int = 255) -> None:
        super().__init__(alpha, ignore_index, "alpha")
        if not gamma >= 0:
            raise ValueError(f"gamma: {gamma}, but 0 (cross-entropy) or more is expected")
        self.gamma = gamma

    def compute(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of checked float32 or float64 logits and int64 labels."""
        weights = self.weights_for(logits)
        losses = pixel_losses(logits, target, self.ignore_index)
        # 1 − p without cancellation; the floor keeps the derivative of 0 ** gamma finite for gamma < 1.
        wrong = (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).tiny)
        losses = wrong**self.gamma * losses
        kept = target != self.ignore_index
        if weights is not None:
            losses = losses * weights[torch.where(kept, target, 0)]
        return self.mean(losses, target, weights, kept)


def pixel_losses(
    logits: Tensor, target: Tensor, ignore_index: int, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the cross-entropy of every pixel (B, H, W), 0 where it is ignored, of logits (B, C, H, W) and labels."""
    if not apple.careful(logits.device):
        options: dict[str, Any] = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
        return F.cross_entropy(logits, target, weights, reduction="none", **options)
    kept = target != ignore_index
    labels = torch.where(kept, target, 0)
    losses = F.cross_entropy(logits, labels, weights, reduction="none", label_smoothing=label_smoothing)
    return torch.where(kept, losses, 0.0)
