"""Runs side by side -> compare.html. The first run is what the others are compared with."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from seg.loggers.csv import finite_points
from seg.report import facts
from seg.report.embedding import figure, packed, printable, render, save
from seg.report.page import text_of
from seg.report.run import ImageEntry, Record, Run
from seg.report.settings import flat

SCRIPTS = ("charts.js", "pictures.js", "tables.js", "compare.js")
DIFFERING = 24
"""Images that are shown, those on which the runs differ most."""
CURVES = ("val/miou", "val/loss", "train/loss", "val/pixel_accuracy", "val/mean_accuracy", "lr/net")
SCORES = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "fw_iou": "frequency-weighted IoU",
    "mean_f1": "mean F1",
    "mean_boundary_iou": "mean boundary IoU",
}


def write(runs: Sequence[Run], out: Path, stage: str | None = None) -> None:
    """Write the page that compares runs.

    Args:
        runs: two or more.
        out: the file.
        stage: "test" or "val"; what all runs have recorded where not given, the test rather than the validation.

    Raises:
        ValueError: fewer than two runs, or the file cannot be written.

    """
    if len(runs) < 2:
        raise ValueError(f"{runs[0].folder if runs else 'no run'}: give two runs or more to compare")
    html = page(runs, stage)
    save(out, html)


def page(runs: Sequence[Run], stage: str | None = None) -> str:
    """Return the page, HTML."""
    stage = stage or next((s for s in ("test", "val") if all(run.record(s) for run in runs)), None)
    records = [run.record(stage) for run in runs]
    splits = {record.split for record in records if record}
    labels = [printable(label) for label in unique_names(runs)]
    names = next((record.class_names for record in records if record), [])
    colors = next((record.class_colors for record in records if record), [])
    # another list of classes has other colours and other labels: its pictures would be painted wrong
    alike = [record if record is not None and record.class_names == names else None for record in records]
    rows = differing_images(alike)
    pictures = {}
    for number, (_, images, _) in enumerate(rows):
        for position, image in images.items():
            try:
                pictures[f"c{number}-{position}"] = packed(image.pictures())
            except (OSError, BadZipFile, ValueError):
                continue
    data: dict[str, Any] = {
        "names": [printable(name) for name in names],
        "colors": [facts.css(color) for color in colors],
        "marks": facts.marks(),
        "panels": curve_panels(runs, labels),
        "matrix": [],
        "images": [],
    }
    return render(
        "compare.html.j2",
        SCRIPTS,
        data,
        title=f"{len(runs)} runs compared",
        labels=labels,
        notices=[printable(text) for text in notices(runs, records, labels, names)],
        split=splits.pop() if len(splits) == 1 else "",
        scores=score_rows(runs, records),
        classes=class_rows(records, names, colors),
        panels=data["panels"],
        settings=setting_rows(runs),
        images=[
            {
                "number": number,
                "id": printable(name),
                "spread": spread,
                "means": [images[i].mean if i in images else None for i in range(len(runs))],
                "shown": [i for i in images if f"c{number}-{i}" in pictures],
            }
            for number, (name, images, spread) in enumerate(rows)
        ],
        pictures=pictures,
    )


def unique_names(runs: Sequence[Run]) -> list[str]:
    """Return a name a run; its whole path where two have the same."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else str(run.folder) for name, run in zip(names, runs, strict=True)]


def notices(
    runs: Sequence[Run], records: Sequence[Record | None], labels: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Return what cannot be compared, and why."""
    found = []
    for run, record, label in zip(runs, records, labels, strict=True):
        found += [f"{label}: {text}" for text in run.missing]
        if record is None:
            found.append(f"{label}: no scores and no images were recorded; to record them: {run.how_to_record()}")
        else:
            found += [f"{label}: {text}" for text in record.missing]
            if record.class_names != list(names):
                found.append(f"{label}: other classes; those of the same name are compared, its pictures are left out")
    return found + other_data(runs, records, labels)


def other_data(runs: Sequence[Run], records: Sequence[Record | None], labels: Sequence[str]) -> list[str]:
    """Return which runs were scored on other images than the first that was, on other data, or by other rules."""
    found: list[str] = []
    scored = [(record, label) for record, label in zip(records, labels, strict=True) if record]
    for record, label in scored[1:]:
        first, first_label = scored[0]
        here, there = (Counter((image.id, image.size) for image in one.images) for one in (record, first))
        if here != there or record.split != first.split:
            found.append(
                f"{label}: the scores are not of the same images as those of {first_label}: {len(record.images)} of "
                f"{record.split} and {len(first.images)} of {first.split}, {(here & there).total()} of the same name"
            )
        counts, did = (bool(one.facts.get("include_background", True)) for one in (record, first))
        if counts != did:
            found.append(
                f"{label}: class 0 {'counts' if counts else 'does not count'} in mIoU, the other means and the images' "
                f"means, unlike for {first_label} (model.include_background)"
            )
    noted = [
        (run.provenance["dataset.fingerprint"], label)
        for run, label in zip(runs, labels, strict=True)
        if "dataset.fingerprint" in run.provenance
    ]
    found += [
        f"{label}: another data set than that of {noted[0][1]}, or another split of it: classes, names of images or "
        "lengths of files differ"
        for fingerprint, label in noted[1:]
        if fingerprint != noted[0][0]
    ]
    return found


def score_rows(runs: Sequence[Run], records: Sequence[Record | None]) -> list[dict[str, Any]]:
    """Return the headline numbers, a row a score."""
    rows = []
    for name, label in SCORES.items():
        values = [None if record is None else record.scores.get(name) for record in records]
        if any(value is not None for value in values):
            rows.append({"label": label, "cells": compared(values)})
    others = {name: label for record in records if record for name, label in facts.other_scores(record).items()}
    for name, label in others.items():
        if name not in SCORES:  # whether more of it is better is not known
            values = [None if record is None else record.scores.get(name) for record in records]
            rows.append({"label": label, "cells": [unjudged(figure(value)) for value in values]})
    best = [max((v for _, v in finite_points(run.series, "val/miou")), default=None) for run in runs]
    if any(value is not None for value in best):
        rows.append({"label": "best val mIoU", "cells": compared(best)})
    for label, texts in (
        ("parameters", [f"{run.journal['parameters'] / 1e6:.2f} M" if run.journal else "" for run in runs]),
        ("training", [_training(run) for run in runs]),
        ("steps", [f"{run.journal['step']:,}" if "step" in run.journal else "" for run in runs]),
    ):
        if any(texts):
            rows.append({"label": label, "cells": [unjudged(text) for text in texts]})
    return rows


def unjudged(text: str) -> dict[str, Any]:
    """Return a cell that is neither better nor worse than another."""
    return {"text": text, "change": None, "best": False}


def class_rows(
    records: Sequence[Record | None], names: Sequence[str], colors: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Return the IoU of each class, a row a class, matched by name."""
    rows = []
    for name, color in zip(names, colors, strict=True):
        values = []
        for record in records:
            known = record is not None and name in record.class_names
            values.append(record.scores["iou"][record.class_names.index(name)] if known and record else None)
        rows.append({"name": printable(name), "color": facts.css(color), "cells": compared(values)})
    return rows


def compared(values: Sequence[float | None]) -> list[dict[str, Any]]:
    """Return each value as text, its difference to the first, and whether it is the best."""
    known = [value for value in values if value is not None]
    best = max(known, default=None) if len(set(known)) > 1 else None
    first = values[0]
    return [
        {
            "value": value,
            "text": figure(value),
            "change": None if position == 0 or value is None or first is None else value - first,
            "best": value is not None and value == best,
        }
        for position, value in enumerate(values)
    ]


def curve_panels(runs: Sequence[Run], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the curves of all runs over each other, a panel a logged name."""
    found = []
    for name in CURVES:
        lines = []
        for position, (run, label) in enumerate(zip(runs, labels, strict=True)):
            if points := facts.thinned(finite_points(run.series, name)):
                x, y = zip(*points, strict=True)
                # by the run, not by the line: a run that lacks a curve must not pass its colour on to the next
                color = facts.LINES[position % len(facts.LINES)]
                dash = ("solid", "dot", "dash", "dashdot")[position // len(facts.LINES) % 4]
                lines.append({"name": label, "color": color, "x": x, "y": [float(f"{v:.6g}") for v in y], "dash": dash})
        if lines:
            found.append({"title": name, "lines": lines})
    return found


def setting_rows(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return the settings in which runs differ, and the value that each has; "—" where it does not exist."""
    flats = [flat(run.config) for run in runs]
    names = list(dict.fromkeys(name for settings in flats for name in settings))
    rows = []
    for name in names:
        texts = [text_of(settings[name]) if name in settings else "—" for settings in flats]
        if len(set(texts)) > 1:
            rows.append((printable(name), texts))
    return rows


def differing_images(records: Sequence[Record | None]) -> list[tuple[str, dict[int, ImageEntry], float]]:
    """Return name, position of the run -> image, and the spread of its mean IoU; the largest spread first."""
    found: dict[tuple[Any, int], dict[int, ImageEntry]] = {}
    for position, record in enumerate(records):
        seen: Counter[Any] = Counter()
        for image in record.images if record else []:
            # of another split or data set, the same name is another image; within one there may be several, in order
            key = image.id, image.size, image.truth
            seen[key] += 1
            if not math.isnan(image.mean):
                found.setdefault((key, seen[key]), {})[position] = image
    rows = []
    for ((name, *_), _), images in found.items():
        means = [image.mean for image in images.values()]
        if len(means) > 1 and max(means) > min(means):
            rows.append((name, images, max(means) - min(means)))
    return sorted(rows, key=lambda row: (-row[2], row[0]))[:DIFFERING]


def _training(run: Run) -> str:
    seconds = run.journal.get("seconds", {}).get("train", 0)
    return facts.duration(seconds) if seconds else ""
