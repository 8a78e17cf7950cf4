"""A clean data set that the tests of this folder draw, to plant faults in, and what the doctor says about it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg.convert.palette import voc_colors, write_indexed
from seg.data import VOC
from seg.data.base import SegmentationData
from seg.doctor.data import Report, examine
from seg.doctor.findings import Finding
from seg.doctor.measure import Scale
from tests.doctor.setups import Doctor

NAMES = ["background", "cat", "dog"]
HEIGHT, WIDTH = 96, 120


def photo(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return a smooth random picture with a little grain, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    large = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return np.clip(large + rng.normal(0, 4, large.shape), 0, 255).astype(np.uint8)


def mask(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return background with a cat and a dog of a quarter of the image each, and a border of 255."""
    labels = np.zeros((height, width), np.uint8)
    middle = height // 2, width // 2
    labels[: middle[0], : middle[1]] = 1
    labels[middle[0] :, middle[1] :] = 2
    labels = np.roll(labels, seed % 7, axis=1)
    labels[0] = labels[:, -1] = 255
    return labels


class Tree:
    """A VOC tree, whose images and masks can be replaced."""

    def __init__(self, root: Path, train: int = 6, val: int = 3) -> None:
        self.root = root
        self.splits: dict[str, list[str]] = {"train": [], "val": []}
        for number in range(train + val):
            self.add("train" if number < train else "val", f"{'abcdefghijklmnopqrstuvwxyz'[number]}_photo", number)

    def add(self, split: str, name: str, seed: int) -> None:
        self.splits[split].append(name)
        self.image(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(seed)).save(self.image(name), quality=95)
        self.write(name, mask(seed))
        lists = self.root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        for key, names in self.splits.items():
            (lists / f"{key}.txt").write_text("".join(f"{line}\n" for line in names))

    def write(self, name: str, labels: np.ndarray) -> None:
        write_indexed(self.mask(name), labels, voc_colors(256))

    def image(self, name: str) -> Path:
        return self.root / "JPEGImages" / f"{name}.jpg"

    def mask(self, name: str) -> Path:
        return self.root / "SegmentationClass" / f"{name}.png"

    def examined(self, stride: int = 16, receptive_field: int | None = None, **settings: object) -> Report:
        data = VOC(str(self.root), **{"classes": NAMES, **settings})  # type: ignore[arg-type]
        return report_on(data, stride, receptive_field)


def report_on(data: SegmentationData, stride: int = 16, receptive_field: int | None = None) -> Report:
    return examine(data, Scale(stride, receptive_field, data.resize), "test", workers=0)


def odd(report: Report) -> list[Finding]:
    """Return what a report warns of or fails for."""
    return [finding for finding in report.findings if finding.severity != "pass"]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Draw 6 images to train on and 3 to validate."""
    return Tree(tmp_path / "voc")


@pytest.fixture
def only(tree: Tree) -> Callable[..., Finding]:
    """Examine the tree and return the one finding that it must lead to."""

    def look(check: str, severity: str, **settings: object) -> Finding:
        found = odd(tree.examined(**settings))  # type: ignore[arg-type]
        assert [(finding.check, finding.severity) for finding in found] == [(check, severity)], found
        return found[0]

    return look


@pytest.fixture
def doctor(shapes) -> Doctor:
    """Examine set-ups of the small Shapes tree."""
    torch.manual_seed(0)
    return Doctor(shapes)
