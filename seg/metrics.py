"""Scores of a whole data set from one confusion matrix, counted exactly and without synchronising a device."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from seg.columns import padded, places
from seg.labels import largest_class

_LABELS = 256  # values a uint8 label can take


class SegmentationMetrics(Metric):
    """Count a confusion matrix over a data set and compute accuracies, IoU, precision, recall and F1 from it.

    Everything is computed once from the sum over all pixels of all images (and processes), never averaged per image
    or batch. A class without the pixels that a score divides by has no score: its row is nan and the mean leaves it
    out. `iou` and `f1` are nan where a class appears neither in the truth nor in the predictions.

    Args:
        num_classes: 2 to 255.
        ignore_index: the label of pixels that do not count.
        include_background: false drops class 0 from the means and rows; its pixels still count as the errors of others.

    Raises:
        ValueError: an argument outside these ranges; in `update`, shapes that do not match or values that are no class
            (values are checked on the CPU only, since looking at them on a GPU would wait for it; there they are
            counted, and `compute` refuses).

    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    confusion: Tensor
    invalid: Tensor

    def __init__(self, num_classes: int, ignore_index: int = 255, include_background: bool = True) -> None:
        super().__init__()
        if not 2 <= num_classes <= 255:
            raise ValueError(f"num_classes: {num_classes}, but 2 to 255 classes can be scored")
        if 0 <= ignore_index < num_classes:
            raise ValueError(f"ignore_index: {ignore_index} is one of the {num_classes} classes (0..{num_classes - 1})")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.include_background = include_background
        # Rows are the truth, columns the prediction.
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("invalid", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count a batch.

        Args:
            prediction: labels (B, H, W) of any integer type, or logits (B, C, H, W).
            target: labels (B, H, W); uint8 is the fastest type for both.

        Raises:
            ValueError: shapes that do not match, float targets, and on the CPU labels that are no class.

        """
        labels = labels_of(prediction, target, self.num_classes).flatten()
        target = target.flatten()
        if target.device.type == "cpu":
            self.confusion += count_labels(labels, target, self.num_classes, self.ignore_index)
        else:
            counts, invalid = count_without_waiting(labels, target, self.num_classes, self.ignore_index)
            self.confusion += counts
            self.invalid += invalid

    def compute(self) -> dict[str, Tensor]:
        """Return the scores as float64 tensors on the CPU; see `scores`."""
        if invalid := int(self.invalid):
            raise ValueError(
                f"target or prediction: {invalid} pixels have a label that is neither a class "
                f"(0..{self.num_classes - 1}) nor the ignore index {self.ignore_index}; "
                "check the masks and the list of classes"
            )
        return scores(self.confusion, self.include_background)


def labels_of(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """Return labels (B, H, W) of labels or logits (B, C, H, W).

    Raises:
        ValueError: shapes or types that do not fit each other.
    """
    if target.dtype.is_floating_point or target.dtype.is_complex or target.dtype is torch.bool:
        raise ValueError(f"target: type {target.dtype}, but labels are integers (uint8 or int64)")
    if prediction.ndim == target.ndim + 1:
        if prediction.shape[1] != classes:
            raise ValueError(f"prediction: {prediction.shape[1]} channels of logits for {classes} classes")
        prediction = largest_class(prediction)
    elif prediction.dtype.is_floating_point:
        raise ValueError(f"prediction: {tuple(prediction.shape)} of {prediction.dtype} are neither labels nor logits")
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction: size {tuple(prediction.shape)} for a target of {tuple(target.shape)} (batch, height, "
            "width); bring the logits to the mask's size first"
        )
    return prediction


def image_iou(
    prediction: Tensor, target: Tensor, num_classes: int, ignore_index: int = 255, include_background: bool = True
) -> Tensor:
    """Return the IoU of each class in each image, (B, C) float64 on the CPU, nan where an image has no such class.

    For finding the images that go worst. The mean over images is not mIoU, which divides sums over all images.

    Args:
        prediction: labels (B, H, W), or logits (B, C, H, W).
        target: labels (B, H, W).
        num_classes: 2 to 255.
        ignore_index: the label of pixels that do not count.
        include_background: false leaves class 0 out (nan), as in the scores over all images.

    Raises:
        ValueError: as `SegmentationMetrics.update`.
    """
    pairs = zip(labels_of(prediction, target, num_classes).cpu(), target.cpu(), strict=True)
    counted = (count_labels(p.flatten(), t.flatten(), num_classes, ignore_index) for p, t in pairs)
    return torch.stack([scores(counts, include_background)["iou"] for counts in counted])


def count_without_waiting(prediction: Tensor, target: Tensor, classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Count labels (N,) without looking at a value on the host, for devices that work on while the host goes on.

    Returns:
        the (C, C) confusion matrix, and how many pixels have a label that is neither a class nor ignored.

    """
    valid = (target >= 0) & (target < classes)
    known = (prediction >= 0) & (prediction < classes)
    wrong = (valid & ~known) | (~valid & (target != ignore_index))
    # One bin more than pairs takes ignored and wrong pixels. bincount would wait to learn the largest value.
    bins = classes * classes
    pairs = torch.where(valid & known, target.long() * classes + prediction, bins)
    counts = torch.zeros(bins + 1, dtype=torch.int64, device=target.device).scatter_add_(
        0, pairs, torch.ones_like(pairs)
    )
    return counts[:bins].view(classes, classes), wrong.sum()


def scores(confusion: Tensor, include_background: bool = True) -> dict[str, Tensor]:
    """Compute every score from a confusion matrix (rows are the truth, columns the prediction).

    Args:
        confusion: (C, C) counts of pixels; a column more, (C, C + 1), takes predictions that are no class: errors of
            the truth's class, and of no other.
        include_background: false leaves class 0 out of means and rows (nan), but not out of the others' errors.

    Returns:
        float64 scalars on the CPU: `pixel_accuracy` (over all pixels), `mean_accuracy`, `miou`, `fw_iou` (weighted by
        the truth's frequencies), `mean_precision`, `mean_recall` (the same as mean_accuracy), `mean_f1`, and int64
        `present`, the number of classes that `miou` is the mean of, out of `classes`. Per class, float64 (C,), nan
        where undefined: `iou`, `accuracy` (= recall: correct / truth), `precision` (correct / predicted), `recall`,
        `f1` (= Dice). And the `confusion` matrix itself.

    """
    matrix = confusion.detach().cpu().double()
    correct, truth, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)[: len(matrix)]
    union = truth + predicted - correct

    counted = torch.ones_like(truth, dtype=torch.bool)
    counted[0] = include_background
    nan = torch.full_like(truth, torch.nan)

    def ratio(part: Tensor, whole: Tensor) -> Tensor:
        return torch.where(counted & (whole > 0), part / whole, nan)

    iou, recall, precision = ratio(correct, union), ratio(correct, truth), ratio(correct, predicted)
    f1 = ratio(2 * correct, truth + predicted)
    frequency = torch.where(counted, truth, 0.0)
    return {
        "pixel_accuracy": correct.sum() / matrix.sum(),
        "mean_accuracy": recall.nanmean(),
        "miou": iou.nanmean(),
        "fw_iou": (frequency * iou.nan_to_num()).sum() / frequency.sum(),
        "mean_precision": precision.nanmean(),
        "mean_recall": recall.nanmean(),
        "mean_f1": f1.nanmean(),
        "present": (~iou.isnan()).sum(),
        "classes": counted.sum(),
        "iou": iou,
        "accuracy": recall,
        "precision": precision,
        "recall": recall.clone(),
        "f1": f1,
        "confusion": confusion.detach().cpu(),
    }


COLUMNS = {"iou": "IoU", "accuracy": "accuracy", "precision": "precision", "f1": "F1", "boundary_iou": "boundary IoU"}
"""What a table shows of each class, where it was computed, and the headings."""
_ALL_PIXELS = {"pixel_accuracy", "fw_iou", "present", "classes"}


def table(result: Mapping[str, Tensor], names: Sequence[str]) -> str:
    """Write scores for a terminal: a row a class with "n/a" where undefined, the means, and the scores over all pixels.

    Accuracy is the same as recall, F1 the same as Dice. A background that is not counted has no row.

    Args:
        result: what `SegmentationMetrics.compute` or `scores` returns, with what other metrics computed; of those,
            Boundary IoU has a column, and every other single figure a line of its own.
        names: a name for each class.

    Raises:
        ValueError: another number of names than classes.

    """
    if len(names) != len(result["iou"]):
        raise ValueError(f"names: {len(names)} for {len(result['iou'])} classes")
    columns = {name: heading for name, heading in COLUMNS.items() if name in result}
    counted = int(result["classes"])
    rows = [["class", *columns.values()]]
    values = [result[name].tolist() for name in columns]
    for name, *figures in list(zip(names, *values, strict=True))[len(names) - counted :]:
        rows.append([name, *map(figure, figures)])
    means = {name: "miou" if name == "iou" else f"mean_{name}" for name in columns}
    rows.append(["mean", *(figure(float(result[mean])) for mean in means.values())])
    widths = [max(places(row[0]) for row in rows), *(max(6, len(heading)) for heading in columns.values())]
    lines = [
        "  ".join(
            [padded(row[0], widths[0]), *(f"{text:>{width}}" for text, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    lines.append(
        f"mean over {int(result['present'])} of {counted} classes · pixel accuracy "
        f"{figure(float(result['pixel_accuracy']))} · frequency-weighted IoU {figure(float(result['fw_iou']))}"
    )
    shown = {*means.values(), *_ALL_PIXELS, "mean_recall"}
    lines += [
        f"{name} {figure(float(value))}" for name, value in result.items() if not value.ndim and name not in shown
    ]
    return "\n".join(lines)


def worst_table(images: Iterable[tuple[str, Tensor]], number: int) -> str:
    """Write the images that go worst: the mean over each one's own classes, which is not mIoU, and its name.

    Args:
        images: name and IoU of each class (C,), as `image_iou` returns it.
        number: how many to list.

    """
    means = sorted((float(iou.nanmean()), name) for name, iou in images if not iou.isnan().all())
    lines = [f"worst {min(number, len(means))} of {len(means)} images, by the mean IoU of each image's own classes:"]
    return "\n".join(lines + [f"{mean:.4f}  {name}" for mean, name in means[:number]])


def figure(value: float) -> str:
    """Return four digits, or n/a for nan."""
    return "n/a" if value != value else f"{value:.4f}"


def count_labels(prediction: Tensor, target: Tensor, classes: int, ignore_index: int) -> Tensor:
    """Return the (C, C) confusion matrix of labels (N,) on the CPU; refuse what is neither class nor ignored."""
    _check_range("prediction", prediction, classes)
    if target.dtype is not torch.uint8 and target.numel():
        low, high = target.aminmax()
        if low >= 0 and high < _LABELS:
            target = target.to(torch.uint8)
        else:  # an ignore index that no uint8 holds: one extra row takes its pixels
            _check_range("target", target, classes, ignore_index)
            target = torch.where(target == ignore_index, classes, target).to(torch.uint8)
            ignore_index = classes
    # One row for each value that a uint8 has: no mask, no copy, and wrong labels are seen in the counts.
    dtype = torch.int16 if _LABELS * classes <= torch.iinfo(torch.int16).max else torch.int32
    pairs = target.to(dtype).mul_(classes).add_(prediction.to(dtype))
    rows = torch.bincount(pairs, minlength=_LABELS * classes).view(_LABELS, classes)
    wrong = (rows[classes:].sum(1).nonzero().flatten() + classes).tolist()
    if wrong := [value for value in wrong if value != ignore_index]:
        _refuse("target", wrong, classes, ignore_index)
    return rows[:classes]


def _check_range(name: str, labels: Tensor, classes: int, ignore_index: int | None = None) -> None:
    """Refuse labels that are neither one of the classes nor ignored."""
    if labels.numel() == 0:
        return
    low, high = (int(value) for value in labels.aminmax())
    if low >= 0 and high < classes:
        return
    if wrong := {int(v) for v in labels[(labels < 0) | (labels >= classes)].tolist()} - {ignore_index}:
        _refuse(name, sorted(wrong), classes, ignore_index)


def _refuse(name: str, values: list[int], classes: int, ignore_index: int | None) -> None:
    shown = ", ".join(str(value) for value in values[:8])
    ignored = "" if ignore_index is None else f" or {ignore_index} (ignore)"
    raise ValueError(f"{name}: label {shown} where there are {classes} classes; labels are 0..{classes - 1}{ignored}")
