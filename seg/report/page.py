"""A run folder -> report.html."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np
import yaml

from seg.report import facts
from seg.report.embedding import colored, data_url, packed, printable, render, room_beside, save
from seg.report.part import sparse
from seg.report.run import ImageEntry, Record, Run
from seg.report.settings import MISSING, differences
from seg.signs import signs

SCRIPTS = ("charts.js", "pictures.js", "viewer.js", "tables.js", "report.js")
PAIRS = 300_000
"""Pairs of truth and prediction that the page knows of all its images together, some 4 MB of it."""


class Written(NamedTuple):
    """What was written: the file, and what it lacks, in words."""

    path: Path
    missing: list[str]


def default_path(run: Run, stage: str | None) -> Path:
    """Return where a page is written: report.html, and report-val.html for a validation beside a test."""
    main = stage is None or stage == (run.stages[0] if run.stages else stage)
    return run.folder / ("report.html" if main else f"report-{stage}.html")


def write(run: Run, out: Path | None = None, stage: str | None = None) -> Written:
    """Write the page of a run.

    Args:
        run: the run.
        out: the file; report.html in the run folder where not given.
        stage: "test" or "val"; the test, where there was one, if not given.

    Raises:
        ValueError: the file cannot be written.

    """
    out = out or default_path(run, stage)
    html, missing = page(run, stage)
    save(out, html)
    return Written(out, missing)


def page(run: Run, stage: str | None = None) -> tuple[str, list[str]]:
    """Return the page and what it lacks, in words."""
    record = run.record(stage)
    series = run.series
    names = run.class_names if record is None else record.class_names
    colors = run.class_colors if record is None else record.class_colors
    pairs, cut = ([], 0) if record is None else pairs_of(record.images)
    data: dict[str, Any] = {
        "names": [printable(name) for name in names],
        "colors": [facts.css(color) for color in colors],
        "marks": facts.marks(),
        "panels": facts.panels(series, names, colors),
        "matrix": [] if record is None else sparse(record.confusion),
        "images": [] if record is None else image_rows(record.images, pairs),
    }
    # what the script reads is needed for every image, and so comes first; pictures get what it leaves
    shown = None if record is None else pictures_of(record, room_beside(data))
    missing = lacking(run, record, stage, shown, cut)
    html = render(
        "report.html.j2",
        SCRIPTS,
        data,
        title=printable(run.name),
        subtitle=[printable(part) for part in about(run, record)],
        missing=[printable(text) for text in missing],
        signs=[*facts.not_finite(series), *signs(series)],
        headline=facts.headline(run, record),
        record=record,
        names=data["names"],
        colors=data["colors"],
        classes=[] if record is None else facts.class_rows(record),
        boundary=record is not None and "boundary_iou" in record.scores,
        confusions=[] if record is None else facts.confusions(record),
        panels=data["panels"],
        pictures={} if shown is None else {number: packed(files) for number, files in shown.items()},
        still=[] if record is None or shown is None else still(record, shown),
        resources=facts.resources(run, record),
        environment=[
            (printable(name.removeprefix("environment.").replace(".", " ")), text_of(value))
            for name, value in run.provenance.items()
        ],
        differences=[
            (printable(name), text_of(value), "" if default is MISSING else text_of(default))
            for name, value, default in differences(run.config)
        ],
        config=printable(yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)) if run.config else "",
    )
    return html, missing


def about(run: Run, record: Record | None) -> list[str]:
    """Return what was trained on what, in a few words."""
    parts = []
    if network := run.journal.get("network"):
        parts.append(f"{network}, {run.journal.get('parameters', 0) / 1e6:.2f} M parameters")
    if record is not None:
        parts.append(str(record.facts.get("data", "")))
        parts.append(f"{len(record.images):,} images of the {record.split} split, {len(record.class_names)} classes")
        if checkpoint := record.facts.get("checkpoint"):
            parts.append(f"{checkpoint}")
        if made := record.facts.get("made"):
            parts.append(facts.date(made))
    return [part for part in parts if part]


def lacking(
    run: Run, record: Record | None, stage: str | None, shown: dict[int, dict[str, bytes]] | None, cut: int
) -> list[str]:
    """Return what the page lacks and how to get it; `cut` pairs of truth and prediction were left out."""
    run.config, run.journal, run.provenance  # noqa: B018 (read once, so that what they lack is known)
    found = list(run.missing)
    if record is None:
        kind = {"val": "validation", "test": "test", None: "test or validation"}[stage]
        found.append(
            f"no scores and no images: no {kind} of this run was recorded. To record one: "
            f"{run.how_to_record(stage or 'test')}"
        )
    else:
        if record.missing:
            cure = run.how_to_record(record.stage)
            found += [f"{text}; to record all anew: {cure}" for text in record.missing]
        if shown is not None and len(shown) < len(record.images):
            found.append(
                f"{len(record.images) - len(shown):,} of {len(record.images):,} images are listed without pictures"
            )
        if cut:
            found.append(
                f"{cut:,} pairs of truth and prediction, the smallest of images with very many: a cell of the "
                "confusion matrix may list fewer images than have that confusion"
            )
    if not run.journal:
        found.append(
            "environment, time and memory were not noted: the run was trained before seg did so, or did not begin"
        )
    if not run.checkpoints:
        found.append("no checkpoint in the run folder")
    return found


def pictures_of(record: Record, room: int) -> dict[int, dict[str, bytes]]:
    """Return position -> pictures of the images that so many characters have room for, the most telling ones first."""
    found: dict[int, dict[str, bytes]] = {}
    with ExitStack() as stack:
        parts = {path: stack.enter_context(ZipFile(path)) for path in {image.part for image in record.images}}
        for index in facts.by_priority(record.images):
            image = record.images[index]
            try:
                files = image.pictures(parts[image.part])
            except (OSError, BadZipFile, ValueError):
                continue
            size = sum(len(content) * 4 // 3 + 4 for content in files.values())
            if not {"image.jpg", "truth.png", "prediction.png"} <= files.keys() or size > room:
                continue
            room -= size
            found[index] = files
    return found


def pairs_of(images: Sequence[ImageEntry], room: int = PAIRS) -> tuple[list[list[list[int]]], int]:
    """Return [truth, prediction, pixels] of the pairs of each image that there is room for, and how many there is not.

    Confusions come before what is right, which no one has to look for, and large ones before small ones.
    """
    sizes = np.array([len(image.confusion) for image in images], dtype=np.int64)
    largest = int(sizes.max(initial=0))
    # so many of each image fit: what images with few pairs leave is for those with many
    most = bisect_right(range(largest + 1), room, key=lambda each: int(np.minimum(sizes, each).sum())) - 1
    kept = []
    for image in images:
        truth, prediction, pixels = image.confusion.T
        order = np.lexsort((-pixels, truth == prediction))[:most]
        kept.append(image.confusion[order].tolist())
    return kept, int((sizes - np.minimum(sizes, most)).sum())


def image_rows(images: Sequence[ImageEntry], pairs: Sequence[list[list[int]]]) -> list[dict[str, Any]]:
    """Return what the page's script knows of each image."""
    return [
        {
            "id": printable(image.id),
            "size": image.size,
            "mean": None if math.isnan(image.mean) else round(image.mean, 4),
            "iou": [[c, round(float(value), 4)] for c, value in enumerate(image.iou) if value == value],
            "pairs": known,
        }
        for image, known in zip(images, pairs, strict=True)
    ]


def still(record: Record, shown: dict[int, dict[str, bytes]], number: int = 2) -> list[dict[str, Any]]:
    """Return the worst, median and best images as pictures that need no script."""
    order = [index for index in facts.ranked(record.images) if index in shown]
    middle = max(0, len(order) // 2 - number // 2)
    groups = {"worst": order[:number], "median": order[middle : middle + number], "best": order[-number:][::-1]}
    found, seen = [], set()
    for kind, indices in groups.items():
        for index in indices:
            if index in seen:
                continue
            seen.add(index)
            found.append(_still(kind, record.images[index], shown[index], record))
    return found


def _still(kind: str, image: ImageEntry, files: dict[str, bytes], record: Record) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": printable(image.id),
        "mean": image.mean,
        "image": data_url("jpeg", files["image.jpg"]),
        "truth": data_url("png", colored(files["truth.png"], record.class_colors)),
        "prediction": data_url("png", colored(files["prediction.png"], record.class_colors)),
    }


def text_of(value: Any) -> str:
    """Return a setting's value on one line."""
    if isinstance(value, str):
        return printable(value)
    text = (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6) if _plain(value) else str(value)
    )
    return printable(text.removesuffix("\n...\n").strip())


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_plain(item) for item in value.values())
    return value is None or isinstance(value, str | int | float | bool)
