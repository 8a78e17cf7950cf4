"""Time the confusion matrix beside its peers: `python benchmarks/metrics.py` (19 classes, 1024×2048, CPU).

Ways to count take turns, so that a machine whose speed changes treats all alike; medians are printed, and each target
with the ratio that was reached. The official counter is that of cityscapesScripts, which must be built with
CYTHONIZE_EVAL set and needs numpy < 2.4; it is left out where it is not installed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from seg.metrics import SegmentationMetrics

LABELS, LOGITS = "ours, uint8 labels", "ours, logits"
MAX, OFFICIAL = "logits.max(1).indices alone", "cityscapesScripts, compiled"
STOCK_LABELS, STOCK_LOGITS = "torchmetrics accuracy ×2 + Jaccard, labels", "torchmetrics accuracy ×2 + Jaccard, logits"
TARGETS = (
    (LABELS, OFFICIAL, "at most 1"),
    (LOGITS, MAX, "at most 1.2"),
    (LOGITS, STOCK_LOGITS, "at most 0.05"),
    (LABELS, STOCK_LABELS, "at most 0.05"),
)


def medians(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) * 1e3 for name, values in times.items()}


def main() -> None:
    """Print a line for each way to count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--repeats", type=int, default=9)
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
    wide, channels_last = target.long(), logits.contiguous(memory_format=torch.channels_last)
    runs: dict[str, Callable[[], object]] = {
        LABELS: lambda: ours.update(prediction, target),
        "ours, int64 target": lambda: ours.update(prediction, wide),
        LOGITS: lambda: ours.update(logits, target),
        "ours, channels-last logits": lambda: ours.update(channels_last, target),
        MAX: lambda: logits.max(1).indices,
        "channels-last logits.max(1).indices alone": lambda: channels_last.max(1).indices,
        STOCK_LABELS: lambda: stock.update(prediction.long(), wide),
        STOCK_LOGITS: lambda: stock.update(logits, wide),
    }
    try:
        from cityscapesscripts.evaluation import addToConfusionMatrix as official
    except ImportError:
        print("cityscapesScripts' compiled counter is not installed: it is left out")
    else:
        import numpy as np

        matrix = np.zeros((256, 256), dtype=np.ulonglong)
        p, t = prediction[0].numpy(), target[0].numpy()
        labels = [*range(classes), 255]
        runs[OFFICIAL] = lambda: official.cEvaluatePair(p, t, matrix, labels)

    print(f"{classes} classes, {shape[1]}×{shape[2]}, {options.threads} threads, medians of {options.repeats}")
    found = medians(runs, options.repeats)
    for name, milliseconds in found.items():
        print(f"{name:<45} {milliseconds:9.2f} ms")
    for name, peer, wanted in TARGETS:
        if peer in found:
            ratio = found[name] / found[peer]
            print(f"{name} / {peer}: {ratio:.3f} ({1 / ratio:.1f} × faster), wanted {wanted}")


if __name__ == "__main__":
    main()
