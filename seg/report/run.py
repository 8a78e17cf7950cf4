"""Reading a run folder: configuration, numbers, scores, images, checkpoints, and what of it is missing."""

import io
import json
import math
import zipfile
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from PIL import Image

from seg.loggers.csv import read_metrics
from seg.report.record import FOLDER, FORMAT
from seg.report.thumbnails import FILES

Series = dict[str, list[tuple[float, float]]]
STAGES = ("test", "val")


class ImageEntry(NamedTuple):
    """One image of a record.

    `id` is its name, `size` (height, width); `confusion` (N, 3) has rows of truth, prediction, pixels; `iou` holds the
    IoU of each class (C,), nan where the image has no such class. `part` and `number` tell where its pictures lie.
    """

    id: str
    size: tuple[int, int]
    confusion: np.ndarray
    iou: np.ndarray
    part: Path
    number: int

    @property
    def mean(self) -> float:
        """The mean IoU over the image's own classes, nan where nothing in it is scored. Not mIoU."""
        known = self.iou[~np.isnan(self.iou)]
        return float(known.mean()) if len(known) else math.nan

    @property
    def truth(self) -> tuple[tuple[int, int], ...]:
        """Class and pixels of what the truth holds, the same for every prediction."""
        counts: Counter[int] = Counter()
        for truth, _, pixels in self.confusion.tolist():
            counts[truth] += pixels
        return tuple(sorted(counts.items()))

    def pictures(self, opened: zipfile.ZipFile | None = None) -> dict[str, bytes]:
        """Return the pictures as files: image.jpg, truth.png, prediction.png (labels), and maybe confidence.jpg.

        Args:
            opened: the part, where many images are read: opening it takes longer than reading one.

        """
        with nullcontext(opened) if opened else zipfile.ZipFile(self.part) as file:
            found = {}
            for name in FILES:
                with suppress(KeyError):
                    found[name] = file.read(f"{self.number:06d}/{name}")
            return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the pictures as arrays: image uint8 (h, w, 3); truth and prediction, labels uint8 (h', w')."""
        return {name.split(".")[0]: np.array(Image.open(io.BytesIO(data))) for name, data in self.pictures().items()}


class Record(NamedTuple):
    """What a test or a validation left: see `seg.report.record`.

    `scores` has the single figures by name and those of the classes as lists, None where undefined; `confusion` is the
    (C, C) matrix, rows = truth. `missing` tells in words what is not there.
    """

    stage: str
    split: str
    class_names: list[str]
    class_colors: list[list[int]]
    scores: dict[str, Any]
    confusion: np.ndarray
    images: list[ImageEntry]
    facts: dict[str, Any]
    missing: list[str]


class Run:
    """Read what a run folder holds; what is not there is empty, and told of in `missing`.

    Args:
        folder: `runs/<config>/<version>`.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder is not one of a run.

    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{folder}: there is no such run folder; runs lie in runs/<config>/version_<n>")
        if not any((self.folder / name).exists() for name in ("config.yaml", "metrics.csv", "checkpoints", FOLDER)):
            versions = sorted(path.name for path in self.folder.glob("version_*") if path.is_dir())
            cure = (
                f"give one of the runs in it: {', '.join(versions)}" if versions else "give runs/<config>/version_<n>"
            )
            raise ValueError(f"{folder}: no run (neither config.yaml, metrics.csv, checkpoints nor {FOLDER}); {cure}")
        self.missing: list[str] = []
        self._records: dict[str, Record | None] = {}

    @property
    def name(self) -> str:
        """The name of the experiment and the version: `camvid_unet/version_0`."""
        whole = self.folder.resolve()
        return f"{whole.parent.name}/{whole.name}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration that the run was started with; empty where there is none."""
        path = self.folder / "config.yaml"
        try:
            held = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._lacks("config.yaml is missing: the run ended before its first step")
            return {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            self._lacks(f"config.yaml cannot be read ({str(error).splitlines()[0]})")
            return {}
        return held if isinstance(held, dict) else {}

    @cached_property
    def series(self) -> Series:
        """What was logged: name -> [(step, value), …]; a last line that was only half written is left out."""
        series = Series()
        try:
            _, rows, _ = read_metrics(self.folder / "metrics.csv")
        except OSError:
            self._lacks("metrics.csv is missing: nothing was logged, there are no curves")
            return series
        for row in rows:
            for name, text in row.items():
                if name not in ("step", "epoch"):
                    series.setdefault(name, []).append((float(row["step"]), float(text)))
        if not series:
            self._lacks("metrics.csv is empty: the run ended before its first step")
        return series

    @cached_property
    def journal(self) -> dict[str, Any]:
        """Seconds and memory, see `seg.report.journal`; empty where they were not noted."""
        return self._json(self.folder / FOLDER / "run.json") or {}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Code, environment and data set, see `seg.provenance`; empty where they were not noted."""
        return self._json(self.folder / "provenance.json") or {}

    @property
    def checkpoints(self) -> dict[str, Path]:
        """The checkpoints that are there: "best", "last"."""
        paths = {name: self.folder / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")}
        return {name: path for name, path in paths.items() if path.is_file()}

    @property
    def stages(self) -> list[str]:
        """What was recorded: "test", "val"."""
        return [stage for stage in STAGES if (self.folder / FOLDER / f"{stage}.json").is_file()]

    def record(self, stage: str | None = None) -> Record | None:
        """Return the record of a stage, "test" or "val" (the first that there is where not given), or None.

        Raises:
            ValueError: a stage that does not exist.

        """
        if stage is not None and stage not in STAGES:
            raise ValueError(f"split: '{stage}' is not one of {', '.join(STAGES)}")
        for candidate in [stage] if stage else STAGES:
            if candidate not in self._records:
                self._records[candidate] = self._read(candidate)
            if (found := self._records[candidate]) is not None:
                return found
        return None

    @property
    def scores(self) -> dict[str, float]:
        """The single figures of the record, `miou` and the like; empty where nothing was recorded."""
        held = {} if (record := self.record()) is None else record.scores
        return {name: value for name, value in held.items() if isinstance(value, int | float)}

    @property
    def images(self) -> list[ImageEntry]:
        """The images of the record."""
        return [] if (record := self.record()) is None else record.images

    @property
    def class_names(self) -> list[str]:
        """The classes of the record, else of the configuration."""
        record = self.record()
        return record.class_names if record else [str(name) for name in self._data().get("classes") or []]

    @property
    def class_colors(self) -> list[list[int]]:
        """A colour for each class."""
        record = self.record()
        return record.class_colors if record else [list(color) for color in self._data().get("colors") or []]

    def how_to_record(self, stage: str = "test") -> str:
        """Return the command that records a stage anew, or what has to happen before there can be one."""
        if (path := next(iter(self.checkpoints.values()), None)) is None:
            return "there is no checkpoint yet: train on, or train anew"
        return f"seg {'validate' if stage == 'val' else 'test'} --ckpt_path {path}"

    def _data(self) -> dict[str, Any]:
        data = self.config.get("data")
        settings = data.get("init_args") if isinstance(data, dict) else None
        return settings if isinstance(settings, dict) else {}

    def _lacks(self, text: str) -> None:
        if text not in self.missing:
            self.missing.append(text)

    def _json(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._lacks(f"{path.relative_to(self.folder)} cannot be read ({error})")
            return None
        return held if isinstance(held, dict) else None

    def _read(self, stage: str) -> Record | None:
        held = self._json(self.folder / FOLDER / f"{stage}.json")
        if held is None:
            return None
        if held.get("format", 0) > FORMAT:
            self._lacks(f"{FOLDER}/{stage}.json was written by a later version of seg; update seg")
            return None
        try:
            names, colors = [str(name) for name in held["names"]], [list(map(int, rgb)) for rgb in held["colors"]]
            confusion = dense(held["confusion"], len(names))
            parts, missing = [self.folder / FOLDER / Path(part).name for part in held["parts"]], []
            images = []
            for path in parts:
                try:
                    images += _images(path, len(names), bool(held.get("include_background", True)))
                except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
                    missing.append(f"{FOLDER}/{path.name}, a part of the images, cannot be read ({error})")
            facts = {name: value for name, value in held.items() if name not in ("scores", "confusion", "parts")}
            record = Record(
                stage, str(held["split"]), names, colors, dict(held["scores"]), confusion, images, facts, missing
            )
        except (KeyError, ValueError, TypeError, IndexError) as error:
            self._lacks(f"{FOLDER}/{stage}.json is damaged ({error!r}); make it anew: {self.how_to_record(stage)}")
            return None
        if len(parts) < int(held.get("processes", 1)):
            missing.append(f"the images of {held['processes'] - len(parts)} of {held['processes']} processes")
        elif not missing and len(images) < int(held.get("images", 0)):
            missing.append(f"{held['images'] - len(images)} of {held['images']} images were not evaluated")
        return record


def dense(pairs: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Return the (C, C) matrix of rows of truth, prediction, pixels."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    for truth, prediction, pixels in pairs:
        matrix[truth, prediction] += pixels
    return matrix


def iou_of(pairs: np.ndarray, classes: int) -> np.ndarray:
    """Return the IoU of each class (C,) from rows (N, 3) of truth, prediction, pixels; nan for absent classes."""
    truth, prediction, pixels = pairs.T
    rows, columns = (np.bincount(labels, pixels, classes) for labels in (truth, prediction))
    correct = np.bincount(truth[truth == prediction], pixels[truth == prediction], classes)
    union = rows + columns - correct
    return np.asarray(np.divide(correct, union, out=np.full(classes, np.nan), where=union > 0))


def _images(part: Path, classes: int, include_background: bool) -> list[ImageEntry]:
    """Return the images of a part of a record."""
    with zipfile.ZipFile(part) as file:
        rows = json.loads(file.read("images.json"))
    entries = []
    for number, row in enumerate(rows):
        pairs = np.array(row["confusion"], dtype=np.int64).reshape(-1, 3)
        if len(pairs) and not (pairs[:, :2].min() >= 0 and pairs[:, :2].max() < classes):
            raise ValueError(f"image {number} has labels that are no class")
        size = int(row["height"]), int(row["width"])
        iou = iou_of(pairs, classes)
        if not include_background:
            iou[0] = np.nan
        entries.append(ImageEntry(str(row["id"]), size, pairs, iou, part, number))
    return entries
