"""All that one stage (validation, test) measures: the confusion matrix, and further metrics beside it."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric

from seg.metrics import SegmentationMetrics

MetricCallable = Callable[[int], Metric]
"""Builds a metric for a number of classes; it takes `ignore_index` by name, and logits and target in `update`."""


class Evaluation(nn.Module):
    """Count predictions of a whole split and compute its scores.

    Args:
        num_classes: 2 to 255.
        ignore_index: label that is not scored.
        include_background: false leaves class 0 out of the scores; its pixels still count as the errors of others.
        extra: builders of metrics that are measured beside the confusion matrix.

    """

    def __init__(
        self, num_classes: int, ignore_index: int, include_background: bool = True, extra: Sequence[MetricCallable] = ()
    ) -> None:
        super().__init__()
        self.metrics = SegmentationMetrics(num_classes, ignore_index, include_background)
        given: dict[str, Any] = {"ignore_index": ignore_index}
        self.extra = nn.ModuleList([build(num_classes, **given) for build in extra])

    def update(self, labels: Tensor, logits: Tensor, target: Tensor) -> None:
        """Count a batch: predicted labels (B, H, W), the logits (B, C, H, W) that they are of, and the truth."""
        self.metrics.update(labels, target)
        for metric in self.extra:
            metric.update(logits, target)  # type: ignore[operator]

    def finish(self) -> tuple[dict[str, Tensor], list[str]]:
        """Return all scores of what has been counted, and the names of the extra ones that are single numbers.

        Counting starts anew. Processes have been summed over; every one of them gets the same.
        """
        extra: dict[str, Tensor] = {}
        for metric in self.extra:
            found = metric.compute()  # type: ignore[operator]
            extra |= found if isinstance(found, dict) else {type(metric).__name__: found}
            metric.reset()  # type: ignore[operator]
        result = {**extra, **self.metrics.compute()}
        self.metrics.reset()
        return result, [name for name, value in extra.items() if value.ndim == 0]
