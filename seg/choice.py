"""Which images stand for a whole data set: the worst, the median, and one with each rare class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seg.loggers.csv import file_name
from seg.metrics import count_labels

RARE = 0.5
"""A class is rare that has less than this share of the pixels that it would have if all had the same number."""


@dataclass(frozen=True)
class ImageCounts:
    """The pixels of one image by class: correct ones, those of the truth, those predicted.

    Args:
        name: of the image.
        counts: int64 (3, C), still on the device that counted, so that nobody waits for it.
        include_background: false leaves class 0 out of IoU and mean.

    """

    name: str
    counts: Tensor
    include_background: bool = True

    def settled(self) -> "Scored":
        """Return the image's scores; waits for the device."""
        correct, truth, found = self.counts.cpu().numpy().astype(np.float64)
        union = truth + found - correct
        iou = np.divide(correct, union, out=np.full_like(union, np.nan), where=union > 0)
        if not self.include_background:
            iou[0] = np.nan
        known = iou[~np.isnan(iou)]
        mean = float(known.mean()) if known.size else float("nan")
        accuracy = float(correct.sum() / truth.sum()) if truth.sum() else float("nan")
        return Scored(self.name, mean, accuracy, tuple(iou.tolist()), tuple(truth.tolist()))


@dataclass(frozen=True)
class Scored:
    """The scores of one image: IoU of each class (nan where it has none), their mean, pixel accuracy, true pixels."""

    name: str
    mean: float
    accuracy: float
    iou: tuple[float, ...]
    truth: tuple[float, ...]

    @property
    def rank(self) -> float:
        """The mean to sort by; images without a scored pixel come last."""
        return self.mean if self.mean == self.mean else 2.0


def image_counts(
    names: Sequence[str],
    labels: Tensor,
    target: Tensor,
    classes: int,
    ignore_index: int = 255,
    include_background: bool = True,
) -> list[ImageCounts]:
    """Count the images of a batch, each by itself, without waiting for the device.

    Args:
        names: one an image.
        labels: predictions (B, H, W).
        target: truth (B, H, W).
        classes: number of classes C.
        ignore_index: label of the truth that does not count, nor do the predictions there.
        include_background: false leaves class 0 out of what `settled` returns as IoU and mean.

    """
    if target.device.type == "cpu":
        pairs = zip(labels, target, strict=True)
        counted = [count_labels(found.flatten(), truth.flatten(), classes, ignore_index) for found, truth in pairs]
        stacked = [torch.stack([matrix.diagonal(), matrix.sum(1), matrix.sum(0)]) for matrix in counted]
    else:
        stacked = list(_count_without_waiting(labels, target, classes))
    return [ImageCounts(str(name), image, include_background) for name, image in zip(names, stacked, strict=True)]


def _count_without_waiting(labels: Tensor, target: Tensor, classes: int) -> Tensor:
    """Return (B, 3, C): bincount, the fast way on a CPU, would wait to learn the largest value."""
    images = len(target)
    target, labels = target.reshape(images, -1).long(), labels.reshape(images, -1).long()
    # one row of bins an image, one bin more takes what is ignored
    offset = torch.arange(images, device=target.device)[:, None] * (classes + 1)
    valid = (target >= 0) & (target < classes)
    counts = []
    for values, counted in ((target, valid & (target == labels)), (target, valid), (labels, valid)):
        bins = (torch.where(counted, values, classes) + offset).flatten()
        zeros = torch.zeros(images * (classes + 1), dtype=torch.int64, device=target.device)
        counts.append(zeros.scatter_add_(0, bins, torch.ones_like(bins)).view(images, classes + 1)[:, :classes])
    return torch.stack(counts, dim=1)


def choose(counts: Sequence[ImageCounts], names: Sequence[str], number: int) -> dict[str, str]:
    """Return role -> image: "worst", "median" and "rare_<index>_<class>", rarest class first, no image twice.

    Args:
        counts: of every image.
        names: one a class.
        number: roles at most.

    """
    images = sorted((image.settled() for image in counts), key=lambda image: (image.rank, image.name))
    scored = [image for image in images if image.mean == image.mean] or images
    if not scored:
        return {}
    chosen = {"worst": scored[0].name}
    if number > 1 and len(scored) > 1:
        chosen["median"] = scored[len(scored) // 2].name
    pixels = np.array([image.truth for image in images])
    total = pixels.sum(axis=0)
    for index in np.argsort(total, kind="stable").tolist():
        if len(chosen) >= number:
            break
        if not 0 < total[index] < RARE * total.sum() / len(names):
            continue
        by_area = sorted(images, key=lambda image: (-image.truth[index], image.name))
        best = next((image for image in by_area if image.name not in chosen.values()), None)
        if best is not None and best.truth[index] > 0:
            chosen[f"rare_{index}_{file_name(names[index])[:40]}"] = best.name
    return chosen
