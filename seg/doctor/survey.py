"""All that is known of a data set once its files have been listed and read: what the checks look at."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seg.data.base import SegmentationData
from seg.data.classes import IGNORE
from seg.doctor.measure import Measured, Scale

ALL = "all"
"""Name of the one split of files that nothing divides."""


@dataclass(frozen=True)
class Survey:
    """Hold what was measured.

    Args:
        data: the data module.
        splits: split -> what was measured of its pairs.
        scale: what makes an object tiny or large.

    """

    data: SegmentationData
    splits: dict[str, list[Measured]]
    scale: Scale

    @property
    def training(self) -> str:
        """Name of the split that is trained on."""
        return ALL if ALL in self.splits else "train"

    @cached_property
    def images(self) -> list[Measured]:
        """All pairs, each once."""
        return list({measured.pair: measured for part in self.splits.values() for measured in part}.values())

    @cached_property
    def split_of(self) -> dict[tuple[str, str], list[str]]:
        """Image and mask file -> names of the splits that they are in."""
        found: dict[tuple[str, str], list[str]] = {}
        for split, part in self.splits.items():
            for measured in part:
                found.setdefault(measured.pair[1:], []).append(split)
        return found

    def splits_of(self, measured: Measured) -> list[str]:
        """Return the names of the splits that a pair is in."""
        return self.split_of[measured.pair[1:]]

    def meaning(self, value: int) -> int | None:
        """Return the class of a value in mask files, 255 for ignored ones, None for what is neither."""
        label = self.data.labels.label_map.get(value, value)
        return label if label < self.data.num_classes or label == IGNORE else None

    def class_pixels(self, measured: Measured) -> Counter[int]:
        """Return class -> pixels of a mask, 255 the ignored ones; values that mean nothing are left out."""
        found: Counter[int] = Counter()
        for value, pixels in measured.values.items():
            if (label := self.meaning(value)) is not None:
                found[label] += pixels
        return found

    def readable(self, split: str | None = None) -> Iterator[Measured]:
        """Yield the pairs, of a split or all, whose mask could be read."""
        yield from (measured for measured in (self.splits[split] if split else self.images) if measured.values)

    @cached_property
    def frequencies(self) -> dict[str, np.ndarray]:
        """Split -> int64 (2, classes + 1): pixels, and images with any, of each class; the last column is ignored."""
        tables = {}
        for split in self.splits:
            table = np.zeros((2, self.data.num_classes + 1), np.int64)
            for measured in self.readable(split):
                for label, pixels in self.class_pixels(measured).items():
                    column = -1 if label == IGNORE else label
                    table[0, column] += pixels
                    table[1, column] += 1
            tables[split] = table
        return tables
