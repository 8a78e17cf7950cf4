"""What a page says about a run, as plain values: headline, classes, confusions, curves, time, settings."""

import datetime
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seg import draw
from seg.loggers.csv import finite_points
from seg.report.embedding import figure
from seg.report.run import ImageEntry, Record, Run, Series

LINES = ("#2a5db0", "#d1711f", "#2e8b6f", "#a03c78", "#7a6bb8", "#8a7a2e", "#4f9bc4", "#b8453c")
"""Colours of curves that are no class's."""
POINTS = 1500
"""Points of a curve that a page draws; of longer ones the lowest and highest of each stretch."""


def headline(run: Run, record: Record | None) -> list[tuple[str, str, str]]:
    """Return (label, figure, note) of what is looked at first."""
    rows: list[tuple[str, str, str]] = []
    if record is not None:
        scores = record.scores
        split = record.split
        present, classes = scores.get("present"), scores.get("classes")
        of = f"mean over {present} of {classes} classes" if present is not None else ""
        rows.append((f"{split} mIoU", figure(scores.get("miou")), of))
        rows.append(("pixel accuracy", figure(scores.get("pixel_accuracy")), "of all scored pixels"))
        rows.append(("mean accuracy", figure(scores.get("mean_accuracy")), "mean over classes"))
        rows.append(("frequency-weighted IoU", figure(scores.get("fw_iou")), ""))
        rows += [(label, figure(scores.get(name)), "") for name, label in other_scores(record).items()]
    best = max(finite_points(run.series, "val/miou"), key=lambda point: point[1], default=None)
    if best is not None:
        rows.append(("best val mIoU", figure(best[1]), f"at step {best[0]:,.0f}"))
    return rows


def other_scores(record: Record) -> dict[str, str]:
    """Return name -> label of the single figures that metrics beside the confusion matrix have left."""
    known = {"miou", "pixel_accuracy", "mean_accuracy", "fw_iou", "present", "classes"}
    known |= {"mean_precision", "mean_recall", "mean_f1"}
    return {
        name: name.replace("_", " ").replace("iou", "IoU")
        for name, value in record.scores.items()
        if name not in known and isinstance(value, int | float)
    }


def not_finite(series: Series) -> list[str]:
    """Return in words which losses are no numbers at some steps; their curves leave those out."""
    found = []
    for name in ("train/loss", "val/loss"):
        points = series.get(name, [])
        if steps := [step for step, value in points if not math.isfinite(value)]:
            found.append(
                f"{name} is not finite at {len(steps):,} of the {len(points):,} steps that were logged, first at step "
                f"{min(steps) + 1:,.0f}; its curve leaves them out"
            )
    return found


def class_rows(record: Record) -> list[dict[str, Any]]:
    """Return what the table of classes shows, a row a class: scores None where undefined, shares of the true pixels."""
    truth = record.confusion.sum(1)
    shares = truth / max(int(truth.sum()), 1)
    largest = max(float(shares.max(initial=0)), 1e-12)
    columns = ("iou", "accuracy", "precision", "f1", "boundary_iou")
    rows = []
    for index, name in enumerate(record.class_names):
        values = {column: _at(record.scores.get(column), index) for column in columns}
        rows.append(
            {
                "index": index,
                "name": name,
                "color": css(record.class_colors[index]),
                "pixels": int(truth[index]),
                "share": float(shares[index]),
                "bar": float(shares[index]) / largest,
                **values,
            }
        )
    return rows


def confusions(record: Record, most: int = 30) -> list[dict[str, Any]]:
    """Return the pairs of classes that are confused most, by pixels, with their shares of truth and prediction."""
    wrong = record.confusion.copy()
    np.fill_diagonal(wrong, 0)
    rows, columns = record.confusion.sum(1), record.confusion.sum(0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = []
    for truth, prediction in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if pixels := int(wrong[truth, prediction]):
            of = float(pixels / rows[truth]), float(pixels / columns[prediction])
            found.append({"truth": int(truth), "prediction": int(prediction), "pixels": pixels, "shares": of})
    return found


def panels(series: Series, names: Sequence[str], colors: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return the curves, as title and lines of name, colour, steps and values; points that are no numbers left out."""
    place = {f"val/iou/{name}": index for index, name in enumerate(names)}
    color_of = {f"val/iou/{name}": css(color) for name, color in zip(names, colors, strict=False)}
    wanted: list[tuple[str, Callable[[str], bool]]] = [
        ("Loss", lambda name: name in ("train/loss", "val/loss")),
        ("Scores", lambda name: name in ("val/miou", "val/pixel_accuracy", "val/mean_accuracy", "val/fw_iou")),
        ("IoU of each class", lambda name: name.startswith("val/iou/")),
        ("Learning rate", lambda name: name.startswith("lr")),
        ("Terms of the loss", lambda name: name.startswith(("train/loss/", "val/loss/"))),
        ("Others", lambda name: not name.startswith("test/")),
    ]
    left, found = list(series), []
    for title, belongs in wanted:
        lines: list[dict[str, Any]] = []
        for name in sorted((name for name in left if belongs(name)), key=lambda name: place.get(name, -1)):
            left.remove(name)
            points = thinned(finite_points(series, name))
            if points:
                x, y = zip(*points, strict=True)
                shown = name.removeprefix("val/iou/") if title.startswith("IoU") else name
                color = color_of.get(name, LINES[len(lines) % len(LINES)])
                lines.append({"name": shown, "color": color, "x": x, "y": [_short(v) for v in y]})
        if lines:
            found.append({"title": title, "lines": lines})
    return found


def thinned(points: list[tuple[float, float]], most: int = POINTS) -> list[tuple[float, float]]:
    """Return at most so many points, the lowest and the highest of each stretch, so that no peak is lost."""
    points = sorted(points)
    if len(points) <= most:
        return points
    kept = []
    for part in np.array_split(np.arange(len(points)), most // 2):
        values = [points[index][1] for index in part]
        kept += sorted({int(part[int(np.argmin(values))]), int(part[int(np.argmax(values))])})
    return [points[index] for index in kept]


def ranked(images: Sequence[ImageEntry]) -> list[int]:
    """Return positions of images, worst first; those in which nothing is scored last."""
    means = [image.mean for image in images]
    return sorted(range(len(images)), key=lambda i: (math.isnan(means[i]), 0 if math.isnan(means[i]) else means[i]))


def by_priority(images: Sequence[ImageEntry], number: int = 24) -> list[int]:
    """Return all positions, those that a page must show first: the worst, the best, those around the median."""
    order = ranked(images)
    middle = len(order) // 2
    first = [*order[:number], *order[-number:], *order[max(0, middle - number // 2) : middle + number // 2]]
    step = max(1, len(order) // 500)
    return list(dict.fromkeys([*first, *order[::step], *order]))


def resources(run: Run, record: Record | None) -> list[tuple[str, str]]:
    """Return time and memory as (what, text)."""
    journal, rows = run.journal, []
    seconds = journal.get("seconds", {})
    for part, label in (("train", "training"), ("val", "validation"), ("test", "test")):
        if seconds.get(part):
            rows.append((label, duration(seconds[part])))
    if record is not None and not seconds.get("test"):
        rows.append((record.stage, duration(record.facts.get("seconds", 0))))
    if journal.get("images") and seconds.get("train"):
        rows.append(("training speed", f"{journal['images'] / seconds['train']:,.1f} images/s"))
        rows.append(("images seen", f"{journal['images']:,}"))
    if record is not None and record.images and (took := record.facts.get("seconds")):
        rows.append((f"{record.stage} speed", f"{len(record.images) / took:,.1f} images/s"))
    for kind, size in journal.get("memory", {}).items():
        rows.append((f"peak {kind}, first process", f"{size / 1000:,.2f} GB"))
    if "parameters" in journal:
        rows.append(("parameters", f"{journal['parameters'] / 1e6:,.2f} M"))
    if "step" in journal:
        rows.append(("steps", f"{journal['step']:,} in {journal.get('epoch', '?')} epochs"))
    if journal.get("resumed"):
        rows.append(("resumed", f"{journal['resumed']} ×"))
    if "started" in journal:
        rows.append(("started", date(journal["started"])))
    return rows


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def date(timestamp: float) -> str:
    """Return a moment in this machine's time."""
    return datetime.datetime.fromtimestamp(timestamp).astimezone().strftime("%Y-%m-%d %H:%M")


def marks() -> dict[str, str]:
    """Return the colours of an error map, those of `seg.draw.error_map`, as the page's script names them."""
    kinds = {
        "hit": draw.HIT,
        "miss": draw.MISS,
        "falseAlarm": draw.FALSE_ALARM,
        "wrong": draw.WRONG,
        "unscored": draw.UNSCORED,
    }
    return {kind: css(color) for kind, color in kinds.items()}


def css(color: Sequence[int]) -> str:
    """Return a colour as #rrggbb."""
    return "#" + "".join(f"{min(max(int(value), 0), 255):02x}" for value in color[:3])


def _at(values: Any, index: int) -> float | None:
    return values[index] if isinstance(values, list) and index < len(values) else None


def _short(value: float) -> float:
    return float(f"{value:.6g}")
