"""Expected calibration error: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017."""

import torch
from torch import Tensor
from torchmetrics import Metric

from seg.metrics import labels_of


class CalibrationError(Metric):
    """Compute how far the probability of the predicted class is from the share of pixels where it is right.

    Pixels of the whole data set fall into bins of equal width by that probability; the error is the mean difference
    of the bins, weighted by their pixels.

    Args:
        num_classes: 2 to 255.
        bins: number of bins (paper: 15).
        ignore_index: the label of pixels that do not count.

    Raises:
        ValueError: an argument outside these ranges; in `update`, shapes or types that do not fit.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    counts: Tensor

    def __init__(self, num_classes: int, bins: int = 15, ignore_index: int = 255) -> None:
        super().__init__()
        if not 2 <= num_classes <= 255:
            raise ValueError(f"num_classes: {num_classes}, but 2 to 255 classes can be scored")
        if bins < 1:
            raise ValueError(f"bins: {bins}, but 1 or more is expected")
        self.num_classes = num_classes
        self.bins = bins
        self.ignore_index = ignore_index
        # For each bin: pixels, right ones, and the sum of their probabilities in units of 2 ** -30, so that the sums
        # are the same in any order; the last bin takes ignored pixels.
        self.add_state("counts", torch.zeros(3, bins + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch of logits (B, C, H, W) and labels (B, H, W)."""
        if logits.ndim != target.ndim + 1:
            raise ValueError(f"logits: shape {tuple(logits.shape)}, but (batch, classes, height, width) is expected")
        labels = labels_of(logits, target, self.num_classes)
        probability = logits.detach().float().softmax(1).amax(1).flatten()
        valid = (target != self.ignore_index).flatten()
        # Bins are open below and closed above, as in the paper.
        bins = (probability * self.bins).ceil().long().sub_(1).clamp_(0, self.bins - 1)
        bins = torch.where(valid, bins, self.bins)
        right = (labels == target).flatten().long()
        for row, values in enumerate((torch.ones_like(right), right, (probability * 2**30).long())):
            self.counts[row].scatter_add_(0, bins, values)

    def compute(self) -> dict[str, Tensor]:
        """Return `calibration_error` and, a bin, `bin_confidence`, `bin_accuracy` (nan where empty), `bin_pixels`."""
        pixels, right, confidence = self.counts[:, :-1].cpu().double()
        confidence = confidence / 2**30
        gap = (right - confidence).abs().sum() / pixels.sum()
        return {
            "calibration_error": gap,
            "bin_confidence": confidence / pixels,
            "bin_accuracy": right / pixels,
            "bin_pixels": pixels.long(),
        }
