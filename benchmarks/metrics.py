"""Time the confusion matrix beside its peers: `python benchmarks/metrics.py` (19 classes, 1024×2048, CPU)."""

import argparse
import time
from collections.abc import Callable

import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from seg.metrics import SegmentationMetrics


def milliseconds(function: Callable[[], object], repeats: int) -> float:
    """Return the shortest of several runs, after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main() -> None:
    """Print a line for each way to count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    shape, classes = (1, options.height, options.width), options.classes
    # Patches, as labels are, rather than noise; a tenth is ignored.
    coarse = torch.randint(0, classes, (1, 1, options.height // 32, options.width // 32)).float()
    target = torch.nn.functional.interpolate(coarse, shape[1:]).squeeze(1).to(torch.uint8)
    prediction = torch.where(torch.rand(shape) < 0.8, target, torch.randint_like(target, classes))
    target[torch.rand(shape) < 0.1] = 255
    logits = torch.randn(1, classes, *shape[1:])

    ours = SegmentationMetrics(classes)
    common = {"num_classes": classes, "ignore_index": 255}
    stock = MetricCollection(
        {
            "micro": MulticlassAccuracy(average="micro", **common),
            "macro": MulticlassAccuracy(average="macro", **common),
            "jaccard": MulticlassJaccardIndex(**common),
        }
    )
    wide = target.long()
    runs: dict[str, Callable[[], object]] = {
        "ours, uint8 labels": lambda: ours.update(prediction, target),
        "ours, int64 target": lambda: ours.update(prediction, wide),
        "ours, logits": lambda: ours.update(logits, target),
        "logits.max(1).indices alone": lambda: logits.max(1).indices,
        "torchmetrics accuracy ×2 + Jaccard, labels": lambda: stock.update(prediction.long(), wide),
        "torchmetrics accuracy ×2 + Jaccard, logits": lambda: stock.update(logits, wide),
    }
    try:
        from cityscapesscripts.evaluation import addToConfusionMatrix as official
    except ImportError:
        print("cityscapesScripts is not installed: its counter is left out")
    else:
        import numpy as np

        matrix = np.zeros((256, 256), dtype=np.ulonglong)
        p, t = prediction[0].numpy(), target[0].numpy()
        labels = [*range(classes), 255]
        runs["cityscapesScripts, compiled"] = lambda: official.cEvaluatePair(p, t, matrix, labels)

    print(f"{classes} classes, {shape[1]}×{shape[2]}, {options.threads} threads")
    for name, run in runs.items():
        print(f"{name:<45} {milliseconds(run, options.repeats):9.2f} ms")


if __name__ == "__main__":
    main()
