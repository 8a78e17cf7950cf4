"""Mean, standard deviation and range of a training split's pixels, exactly, and only once.

Integers are counted value by value: one pass gives percentiles, mean and deviation. Floats take three: their bits, put
in the order of their values, are counted by the upper and then by the lower half, which gives percentiles exactly; the
last pass sums. Everything is in float64; images are merged as Chan, Golub and LeVeque do ("Updating formulae and a
pairwise algorithm for computing sample variances", 1979).
"""

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from seg.data.cache import disk_folder, fingerprint
from seg.data.dataset import Pair, Reader
from seg.data.pixels import Pixels
from seg.files import replacing

logger = logging.getLogger(__name__)

Percentiles = Sequence[float]
_HALF = 1 << 16


class Statistics(NamedTuple):
    """Mean and standard deviation of every band after clipping, and the clip values, lowest and highest a band."""

    mean: list[float]
    std: list[float]
    clip: list[list[float]] | None


def pixel_statistics(
    pairs: Sequence[Pair],
    reader: Reader,
    pixels: Pixels,
    root: Path,
    percentiles: Percentiles | None,
    clip: Sequence[Sequence[float]] | None = None,
) -> Statistics:
    """Compute a split's statistics; they are kept beside the data set until an image changes.

    Args:
        pairs: the files of the split.
        reader: how files become pixels.
        pixels: bands and type that all images must have; its mean and the like are not looked at.
        root: folder of the data set.
        percentiles: lower and upper, 0..100, that become the clip values: the smallest value that at least this share
            of the pixels does not exceed. None where nothing, or `clip`, is to be cut off.
        clip: lowest and highest value of every band.

    Raises:
        ValueError: an image of another kind than the rest, or a band without a single value.

    """
    settings = ("statistics", pixels[:3], percentiles and list(percentiles), clip and [list(pair) for pair in clip])
    key = fingerprint((*settings, reader.settings()), [file for pair in pairs for file in reader.files(pair)])
    kept = disk_folder(root) / f"statistics-{key}.json"
    if kept.is_file():
        return Statistics(**json.loads(kept.read_text(encoding="utf-8")))

    split = _Split(pairs, reader, pixels)
    count = _count_floats if pixels.dtype == "float32" else _count_integers
    result = count(split, percentiles, clip)
    for band, deviation in enumerate(result.std):
        if deviation == 0:
            logger.warning("band %d has one value in the whole training split: it is shifted, not scaled", band)
            result.std[band] = 1.0
    with replacing(kept) as temporary:
        temporary.write_text(json.dumps(result._asdict()), encoding="utf-8")
    return result


class _Split:
    """The images of a split, band by band, without what is missing."""

    def __init__(self, pairs: Sequence[Pair], reader: Reader, pixels: Pixels) -> None:
        self.pairs, self.reader, self.pixels = pairs, reader, pixels

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield every band of every image as (number, its values)."""
        for pair in tqdm(self.pairs, desc="pixel statistics", disable=not sys.stderr.isatty(), leave=False):
            image = self.reader.image(pair)
            self.pixels.check(image, pair.image)
            for band in range(self.pixels.bands):
                values = np.ascontiguousarray(image[:, :, band]).ravel()
                yield band, values[np.isfinite(values)] if values.dtype == np.float32 else values


def _count_integers(split: _Split, percentiles: Percentiles | None, clip: Any) -> Statistics:
    levels = np.iinfo(split.pixels.dtype).max + 1
    counts = np.zeros((split.pixels.bands, levels), np.int64)
    for band, values in split.bands():
        counts[band] += np.bincount(values, minlength=levels)
    if percentiles is not None:
        clip = [[float(_place(row, row.sum(), share)[0]) for share in percentiles] for row in counts]
    mean, std = [], []
    for band, row in enumerate(counts):
        values = np.arange(levels, dtype=np.float64)
        values = values.clip(*clip[band]) if clip is not None else values
        mean.append(float(row @ values / row.sum()))
        std.append(float(np.sqrt(row @ np.square(values - mean[-1]) / row.sum())))
    return Statistics(mean, std, clip)


def _count_floats(split: _Split, percentiles: Percentiles | None, clip: Any) -> Statistics:
    bands = split.pixels.bands
    if percentiles is not None:
        clip = _float_percentiles(split, percentiles)
    number, mean, squares = np.zeros(bands), np.zeros(bands), np.zeros(bands)
    for band, found in split.bands():
        if not found.size:
            continue
        values = found.astype(np.float64)
        values = values.clip(*clip[band]) if clip is not None else values
        own, total = values.mean(), number[band] + values.size
        difference = own - mean[band]
        squares[band] += np.square(values - own).sum() + difference**2 * number[band] * values.size / total
        mean[band] += difference * values.size / total
        number[band] = total
    _refuse_empty(number)
    return Statistics(mean.tolist(), np.sqrt(squares / number).tolist(), clip)


def _float_percentiles(split: _Split, percentiles: Percentiles) -> list[list[float]]:
    """Return percentiles of float32 values by counting twice: their upper 16 bits, then the lower ones where needed."""
    upper = np.zeros((split.pixels.bands, _HALF), np.int64)
    for band, values in split.bands():
        upper[band] += np.bincount(_in_order(values) >> 16, minlength=_HALF)
    totals = upper.sum(axis=1)
    _refuse_empty(totals)
    places = [[_place(row, total, share) for share in percentiles] for row, total in zip(upper, totals, strict=True)]
    lower = np.zeros((split.pixels.bands, len(percentiles), _HALF), np.int64)
    for band, values in split.bands():
        keys = _in_order(values)
        for which, (half, _) in enumerate(places[band]):
            lower[band, which] += np.bincount(keys[keys >> 16 == half] & (_HALF - 1), minlength=_HALF)
    return [
        [
            _value((half << 16) + int(np.searchsorted(np.cumsum(lower[band, which]), rank)))
            for which, (half, rank) in enumerate(row)
        ]
        for band, row in enumerate(places)
    ]


def _place(counts: np.ndarray, total: int, percentile: float) -> tuple[int, int]:
    """Return the bin that holds a percentile, and its rank within the bin, from 1."""
    rank = min(max(int(np.ceil(percentile * int(total) / 100)), 1), int(total))
    ends = np.cumsum(counts)
    place = int(np.searchsorted(ends, rank))
    return place, rank - int(ends[place] - counts[place])


def _in_order(values: np.ndarray) -> np.ndarray:
    """Return uint32 keys in the order of float32 values: of negative ones all bits turned, of others the sign bit."""
    bits = values.view(np.uint32)
    return np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))


def _value(key: int) -> float:
    """Return the value that has a key."""
    bits = key ^ (1 << 31) if key >> 31 else ~key & 0xFFFFFFFF
    return float(np.array([bits], np.uint32).view(np.float32)[0])


def _refuse_empty(numbers: np.ndarray) -> None:
    if empty := np.flatnonzero(numbers == 0).tolist():
        raise ValueError(f"bands {empty} have no value in any image of the training split: all is NaN or no data")
