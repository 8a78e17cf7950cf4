"""Boundary IoU: Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from seg.metrics import labels_of


class BoundaryIoU(Metric):
    """Compute the IoU of the bands of pixels near the outlines, summed over a data set, as SegmentationMetrics is.

    A pixel is in its class's band where the square of 2 · d + 1 pixels around it holds another label or leaves the
    image; d is `width` times the image's diagonal. Ignored pixels take part in no band.

    Args:
        num_classes: 2 to 255.
        width: of the band, as a share of the diagonal (paper: 0.02), at least one pixel.
        ignore_index: the label of pixels that do not count.
        include_background: false leaves class 0 out of the mean; its pixels still count as the errors of others.

    Raises:
        ValueError: an argument outside these ranges; in `update`, shapes or types that do not fit.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    counts: Tensor

    def __init__(
        self, num_classes: int, width: float = 0.02, ignore_index: int = 255, include_background: bool = True
    ) -> None:
        super().__init__()
        if not 2 <= num_classes <= 255:
            raise ValueError(f"num_classes: {num_classes}, but 2 to 255 classes can be scored")
        if not 0 < width < 1:
            raise ValueError(f"width: {width}, but a share of the diagonal above 0 and below 1 is expected")
        self.num_classes = num_classes
        self.width = width
        self.ignore_index = ignore_index
        self.include_background = include_background
        # For each class: pixels in both bands, in the prediction's, in the truth's; the rest in a last column.
        self.add_state("counts", torch.zeros(3, num_classes + 1, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count a batch: labels (B, H, W) or logits (B, C, H, W), and labels (B, H, W)."""
        labels = labels_of(prediction, target, self.num_classes).long()
        target = target.long()
        valid = (target >= 0) & (target < self.num_classes)
        # Ignored in both, so that an outline along ignored pixels is an outline in both.
        target, labels = torch.where(valid, target, -1), torch.where(valid, labels, -1)
        pixels = max(1, round(self.width * (target.shape[1] ** 2 + target.shape[2] ** 2) ** 0.5))
        of_target, of_labels = near_outline(target, pixels), near_outline(labels, pixels)

        rest = self.num_classes
        both = torch.where(of_target & of_labels & (target == labels) & valid, target, rest)
        predicted = torch.where(of_labels & valid, labels, rest)
        truth = torch.where(of_target & valid, target, rest)
        for row, classes in enumerate((both, predicted, truth)):
            self.counts[row].scatter_add_(0, classes.flatten(), torch.ones_like(classes).flatten())

    def compute(self) -> dict[str, Tensor]:
        """Return `boundary_iou` (C,), nan for classes without a band, and their mean `mean_boundary_iou`; float64."""
        both, predicted, truth = self.counts[:, :-1].cpu().double()
        union = predicted + truth - both
        iou = torch.where(union > 0, both / union, torch.nan)
        if not self.include_background:
            iou[0] = torch.nan
        return {"boundary_iou": iou, "mean_boundary_iou": iou.nanmean()}


def near_outline(labels: Tensor, pixels: int) -> Tensor:
    """Return where (B, H, W) another label or the image's border is at most `pixels` away, diagonals counting 1."""
    # All classes at once: the square around a pixel is of one label where its smallest and largest agree. Beyond the
    # border lies a label of its own. Squares grow by doubling, so that wide bands cost little more than narrow ones.
    padded = F.pad(labels.float(), (pixels,) * 4, value=-2.0)
    return _largest(padded, 2 * pixels + 1) != -_largest(-padded, 2 * pixels + 1)


def _largest(values: Tensor, size: int) -> Tensor:
    """Return the maximum of every size × size square inside (B, H, W): (B, H − size + 1, W − size + 1)."""
    for dim in (1, 2):
        have = 1
        while have < size:
            step = min(have, size - have)
            length = values.shape[dim] - step
            values = torch.maximum(values.narrow(dim, 0, length), values.narrow(dim, step, length))
            have += step
    return values
