"""Predictions as tables, a CSV a run: how much of every class each image shows, and which images are least certain."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg.files import replacing
from seg.predict.kinds import Predicted
from seg.predict.visible import bands

Row = dict[str, Any]


class Table(NamedTuple):
    """A table: the heads of its columns, and what it is."""

    columns: tuple[str, ...]
    text: str


TABLES = {
    "areas": Table(("image", "class", "pixels", "share"), "pixels of every class in every image"),
    "ranking": Table(
        ("image", "mean_confidence", "mean_entropy", "uncertain_share"),
        "the images, least certain first, to annotate, without those that a hand has annotated in --out",
    ),
}
"""What can be saved in one file for all images: <name>.csv in the output folder."""


def rows_of(kind: str, predicted: Predicted, uncertain_below: float) -> list[Row]:
    """Return what a table says of an image."""
    pixels = predicted.labels.size
    if kind == "ranking":
        assert predicted.confidence is not None
        uncertain = int(np.count_nonzero(predicted.confidence < 255 * uncertain_below))
        values: tuple[Any, ...] = (f"{predicted.certainty:.5f}", f"{predicted.doubt:.5f}", f"{uncertain / pixels:.5f}")
        return [dict(zip(TABLES[kind].columns, (str(predicted.path), *values), strict=True))]
    # some rows at a time: counting makes eight bytes of each label
    parts = (predicted.labels[rows].ravel() for rows in bands(*predicted.labels.shape))
    counts = np.sum([np.bincount(part, minlength=len(predicted.names)) for part in parts], axis=0).tolist()
    return [
        {"image": str(predicted.path), "class": name, "pixels": int(count), "share": f"{count / pixels:.6f}"}
        for name, count in zip(predicted.names, counts, strict=True)
    ]


def read_table(path: Path, kind: str) -> dict[str, list[Row]]:
    """Return the rows of a table by image; nothing where the file is not there, or no longer the table it was."""
    found: dict[str, list[Row]] = {}
    try:
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["image"], []).append(row)
                second = row[TABLES[kind].columns[1]]
                float(second) if kind == "ranking" else second.encode()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, csv.Error):
        return {}  # a spreadsheet may have saved it in its own way
    return found


def write_table(path: Path, kind: str, rows: dict[str, list[Row]]) -> None:
    """Write the rows of all images; the ranking in the order of confidence."""
    listed = [row for entries in rows.values() for row in entries]
    if kind == "ranking":
        listed.sort(key=lambda row: float(row["mean_confidence"]))
    with (
        replacing(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,  # names may be no UTF-8
    ):
        writer = csv.DictWriter(file, TABLES[kind].columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(listed)
