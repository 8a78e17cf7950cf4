"""What the folds of a cross-validation say together: mean, spread, and the scores of all their pixels pooled."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seg import metrics
from seg.columns import padded, places
from seg.crossval.fold import SCORES
from seg.files import replacing
from seg.metrics import figure


@dataclass
class Summary:
    """Scores of all folds.

    Args:
        class_names: a name for each class.
        iou: float64 (folds, C), nan where a fold has no such class.
        miou: float64 (folds,).
        pooled: what `metrics.scores` returns for the sum of the folds' confusion matrices.

    """

    class_names: list[str]
    iou: np.ndarray
    miou: np.ndarray
    pooled: dict[str, Any]

    def rows(self) -> list[tuple[str, float, float, float, int]]:
        """Return (name, mean, standard deviation, pooled, folds that have the class) of each class, then of mIoU.

        The deviation is that of a sample, divided by folds − 1; nan where fewer than two folds have the class.
        """
        per_class = zip(self.class_names, self.iou.T, self.pooled["iou"].tolist(), strict=True)
        rows = [
            (name, *mean_and_deviation(values), pooled, np.isfinite(values).sum()) for name, values, pooled in per_class
        ]
        miou = ("mIoU", *mean_and_deviation(self.miou), float(self.pooled["miou"]), len(self.miou))
        return [*rows, miou]


def mean_and_deviation(values: np.ndarray) -> tuple[float, float]:
    """Return mean and sample standard deviation of the values that are no nan."""
    there = values[np.isfinite(values)]
    return (
        float(there.mean()) if len(there) else float("nan"),
        float(there.std(ddof=1)) if len(there) > 1 else float("nan"),
    )


def summarise(folders: Sequence[Path]) -> Summary:
    """Read the scores of the folds.

    Raises:
        ValueError: folds of different classes.

    """
    found = [json.loads((folder / SCORES).read_text(encoding="utf-8")) for folder in folders]
    names, background = found[0]["class_names"], found[0]["include_background"]
    for folder, other in zip(folders, found, strict=True):
        if other["class_names"] != names:
            raise ValueError(
                f"{folder / SCORES}: classes {', '.join(other['class_names'])}, but {folders[0].name} has "
                f"{', '.join(names)}; the list of classes changed between the folds: start anew with --new"
            )
    matrices = [torch.tensor(other["confusion"], dtype=torch.int64) for other in found]
    scores = [metrics.scores(matrix, background) for matrix in matrices]
    return Summary(
        class_names=names,
        iou=np.stack([score["iou"].numpy() for score in scores]),
        miou=np.array([float(score["miou"]) for score in scores]),
        pooled=metrics.scores(torch.stack(matrices).sum(0), background),
    )


def table(summary: Summary) -> str:
    """Write mean ± standard deviation over the folds and the pooled IoU of each class for a terminal."""
    width = max(5, *(places(name) for name in summary.class_names))
    lines = [f"{'IoU':<{width}}  {'mean ± std':>15}  {'pooled':>6}  folds"]
    for name, mean, deviation, pooled, folds in summary.rows():
        spread = f"{figure(mean)} ± {figure(deviation)}"
        lines.append(f"{padded(name, width)}  {spread:>15}  {figure(pooled):>6}  {folds:>5}")
    return "\n".join(lines)


def write(folder: Path, summary: Summary) -> list[Path]:
    """Write scores.csv, a row a class and a column a fold, and confusion.csv, the pooled pixels; return both."""
    folds = range(1, len(summary.miou) + 1)
    scores = [["class", "mean", "std", "pooled", "folds", *(f"fold_{fold}" for fold in folds)]]
    values = [*summary.iou.T.tolist(), summary.miou.tolist()]
    for (name, *figures, count), per_fold in zip(summary.rows(), values, strict=True):
        scores.append([name, *map(exact, figures), str(count), *map(exact, per_fold)])
    matrix = summary.pooled["confusion"].tolist()
    confusion = [["truth \\ prediction", *summary.class_names]]
    confusion += [[name, *map(str, row)] for name, row in zip(summary.class_names, matrix, strict=True)]
    paths = []
    for name, rows in {"scores.csv": scores, "confusion.csv": confusion}.items():
        with replacing(folder / name) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        paths.append(folder / name)
    return paths


def exact(value: float) -> str:
    """Return six digits, or nothing for nan."""
    return "" if value != value else f"{value:.6f}"
