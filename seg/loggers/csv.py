"""The logger that every run has: its numbers in metrics.csv, its pictures and tables beside it."""

import csv
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_warn
from PIL import Image

from seg.convert.palette import save_image
from seg.files import replacing, short_name
from seg.loggers.base import Cell, Masks, RunLogger

FLUSH_SECONDS = 5.0
"""How much of a run's numbers a crash may lose."""


class CSV(RunLogger):
    """Write a run into its folder: numbers into metrics.csv, pictures as PNG, tables as CSV; resuming appends.

    `metrics.csv` has a row an optimiser step and a column a logged name. Of a picture that is drawn again and again,
    `pictures/` holds the newest.

    Args:
        folder: the run folder; made with the first row.

    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.place(Path(folder))
        self.path = self.folder / "metrics.csv"
        self.rows: list[dict[str, Any]] = []
        self.columns: list[str] = ["step", "epoch"]
        self.written, self.stale, self.flushed_at = 0, False, 0.0
        if self.path.exists():
            columns, rows, whole = read_metrics(self.path)
            self.columns, self.rows = columns or self.columns, list(rows)
            # what is appended to a damaged file would be lost with what is damaged
            self.written, self.stale = len(self.rows), not whole

    @rank_zero_only
    def record(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write `provenance.json`; the configuration is in the run folder's config.yaml."""
        with replacing(self.folder / "provenance.json") as temporary:
            temporary.write_text(json.dumps(dict(facts), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @rank_zero_only
    def picture(self, key: str, picture: np.ndarray, step: int, caption: str = "", masks: Masks | None = None) -> None:
        """Write `pictures/<key>.png`."""
        # twice as fast as the usual level, and hardly larger
        path = self.folder / "pictures" / f"{file_name(key)}.png"
        with unless_disk_fails(path):
            save_image(path, Image.fromarray(picture), compress_level=1)

    @rank_zero_only
    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """Write `tables/<key>.csv`; columns of pictures are left out, undefined numbers empty."""
        kept = [i for i in range(len(columns)) if not any(isinstance(row[i], np.ndarray) for row in rows)]
        path = self.folder / "tables" / f"{file_name(key)}.csv"
        with (
            unless_disk_fails(path),
            replacing(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="replace") as file,
        ):
            writer = csv.writer(file)
            writer.writerow([columns[i] for i in kept])
            writer.writerows([["" if row[i] != row[i] else row[i] for i in kept] for row in rows])

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of a step."""
        values: dict[str, Any] = {name: float(value) for name, value in metrics.items()}
        if "epoch" in values:
            values["epoch"] = int(values["epoch"])
        if not self.rows or int(self.rows[-1]["step"]) != step:
            self.rows.append({"step": step})
        elif self.written == len(self.rows):
            self.stale = True
        self.rows[-1].update(values)

    @rank_zero_only
    def begin(self, step: int) -> None:
        """Drop the rows of steps from `step` on: a resumed run makes them again."""
        kept = [row for row in self.rows if int(row["step"]) < step]
        if len(kept) < len(self.rows):
            self.rows, self.stale = kept, True
            self.flush()

    @rank_zero_only
    def save(self) -> None:
        """Write what is new every few seconds; Lightning calls this after every single value."""
        if time.monotonic() - self.flushed_at > FLUSH_SECONDS:
            self.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.flush()

    def flush(self) -> None:
        """Append the new rows; where a column is new or a written row has changed, write the whole file anew."""
        self.flushed_at = time.monotonic()
        pending = self.rows[self.written :]
        new = {name for row in (self.rows if self.stale else pending) for name in row} - set(self.columns)
        if not pending and not self.stale:
            return
        if new or self.stale or not self.path.exists():
            self.columns += sorted(new)
            with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, restval="")
                writer.writeheader()
                writer.writerows(self.rows)
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="").writerows(pending)
        self.written, self.stale = len(self.rows), False

    def series(self) -> dict[str, list[tuple[float, float]]]:
        """Return what was logged as name -> [(step, value), …]."""
        series: dict[str, list[tuple[float, float]]] = {}
        for row in self.rows:
            for name, value in row.items():
                if name not in ("step", "epoch"):
                    series.setdefault(name, []).append((float(row["step"]), float(value)))
        return series


def run_folder(trainer: pl.Trainer) -> Path | None:
    """Return the run folder of a training, or None where it has none."""
    return next((logger.folder for logger in trainer.loggers if isinstance(logger, CSV)), None)


def read_metrics(path: Path) -> tuple[list[str], list[dict[str, Any]], bool]:
    """Return columns, rows and whether all of a metrics.csv is there: a run that is killed may leave half a line.

    Left out are bytes that a power loss has left empty, a last line without its end, rows without a step, and values
    that are no numbers.

    Raises:
        OSError: it cannot be read.

    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        found = file.read()
    text = found.replace("\0", "")
    text = text[: text.rfind("\n") + 1]
    # names of classes may hold what str.splitlines takes for the end of a line
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns, rows, whole = list(reader.fieldnames or []), [], text == found
    for row in reader:
        kept = {name: value for name, value in row.items() if name is not None and value and _is_number(value)}
        if kept.get("step", "").isdigit():
            rows.append(kept)
        else:
            whole = False
    return columns, rows, whole


def _is_number(text: str) -> bool:
    with suppress(ValueError, TypeError):
        float(text)
        return True
    return False


@contextmanager
def unless_disk_fails(path: Path) -> Iterator[None]:
    """Write a picture or table; one that cannot be written is said, and the run goes on: its numbers matter more."""
    try:
        yield
    except OSError as error:
        rank_zero_warn(f"{path} cannot be written ({error.strerror or error}); the run goes on without it")


def file_name(key: str) -> str:
    """Return a key such as "test/worst/1" as the name of a file, whatever a class is called in it."""
    return short_name(re.sub(r"[^\w.-]+", "_", key))


def finite_points(series: Mapping[str, Sequence[tuple[float, float]]], name: str) -> list[tuple[float, float]]:
    """Return the points of a series that are numbers; steps count from 1 as people count, not from 0 as loggers do."""
    return [(step + 1, value) for step, value in series.get(name, []) if math.isfinite(value)]
