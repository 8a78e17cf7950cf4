"""One pass through the files: each pair is read once, in parallel, and what all checks need to know is kept of it."""

import contextlib
import hashlib
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from seg.convert.labelme_images import orientation
from seg.data.dataset import Pair, Reader, start_worker
from seg.data.images import Labels, Size
from seg.draw import rgb

FEW = 48
"""Pairs that are read in this process: starting others would take longer."""
SIDE = 32
"""Height and width of the grey thumbnail that images are compared by."""
BITS = 128
"""Length of the perceptual hash: the signs of the lowest frequencies but the mean."""

_CHUNK = 8
_FLAT = 2.0  # standard deviation of grey values below which a picture has no structure to be recognised by


class Objects(NamedTuple):
    """The connected regions of a class in an image: their number and pixels, and those of tiny and of large ones.

    `example` is the box (left, top, right, bottom) of the largest tiny one.
    """

    number: int
    pixels: int
    tiny: int
    tiny_pixels: int
    large_pixels: int
    example: tuple[int, int, int, int] | None


class Measured(NamedTuple):
    """What is kept of a pair; what could not be read is an error's text, and None or empty otherwise.

    `values` counts the pixels of each value in the mask file, `objects` describes those of each class. `look` is the
    grey thumbnail, `digest` the hash of all pixels, `bits` the perceptual hash, None for images without structure.
    """

    pair: Pair
    image_error: str = ""
    mask_error: str = ""
    missing: bool = False
    image_size: Size | None = None
    mask_size: Size | None = None
    orientation: int = 1
    values: dict[int, int] = {}  # noqa: RUF012 (never written to)
    objects: dict[int, Objects] = {}  # noqa: RUF012
    digest: bytes = b""
    mask_digest: bytes = b""
    bits: np.ndarray | None = None
    look: np.ndarray | None = None


class Scale(NamedTuple):
    """What makes an object tiny or large: the network's stride, its receptive field, the size images are brought to."""

    stride: int
    receptive_field: int | None = None
    resize: tuple[int, int] | None = None


class Measuring:
    """Measure pairs; picklable, for the processes that do it.

    Args:
        reader: how files become pixels.
        labels: what the values in masks mean.
        scale: what makes an object tiny or large.

    """

    def __init__(self, reader: Reader, labels: Labels, scale: Scale) -> None:
        self.reader, self.scale, self.num_classes = reader, scale, labels.num_classes
        self.table = np.arange(256, dtype=np.uint8)
        for value, label in labels.label_map.items():
            self.table[value] = label

    def __call__(self, pair: Pair) -> Measured:
        """Return what is known of a pair after reading it once; no file stops the examination."""
        measured = Measured(pair, missing=any(not os.path.isfile(file) for file in self.reader.files(pair)))
        try:
            image = self.reader.image(pair)
            measured = measured._replace(image_size=Size(*image.shape[:2]), digest=_digest(image))
            look, bits = looks(image)
            measured = measured._replace(look=look, bits=bits, orientation=orientation(Path(pair.image)))
        except Exception as error:  # whatever a damaged file makes a decoder raise is what we are here to tell
            measured = measured._replace(image_error=_told(error))
        try:
            mask = self.reader.mask(pair)
            measured = measured._replace(
                mask_size=Size(*mask.shape),
                mask_digest=_digest(mask),
                values={value: int(count) for value, count in enumerate(np.bincount(mask.ravel())) if count},
                objects=self.objects(self.table[mask]),
            )
        except Exception as error:
            measured = measured._replace(mask_error=_told(error))
        return measured

    def objects(self, classes: np.ndarray) -> dict[int, Objects]:
        """Return the regions of each class but the first and 255 in a mask (H, W), 8-connected."""
        height, width = classes.shape
        down, across = (1.0, 1.0)
        if self.scale.resize is not None:
            down, across = self.scale.resize[0] / height, self.scale.resize[1] / width
        found = {}
        for label in np.flatnonzero(np.bincount(classes.ravel(), minlength=256)).tolist():
            if label == 0 or label >= self.num_classes:
                continue
            of_class = (classes == label).view(np.uint8)
            left, top, wide, high = cv2.boundingRect(of_class)
            part = of_class[top : top + high, left : left + wide]
            _, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
            stats = stats[1:]
            x, y, widths, heights, areas = stats.T
            longer = np.maximum(widths * across, heights * down)
            shorter = np.minimum(widths * across, heights * down)
            tiny = longer < self.scale.stride
            field = self.scale.receptive_field
            large = shorter > field if field is not None else np.zeros_like(tiny)
            example = None
            if tiny.any():
                best = int(np.argmax(np.where(tiny, areas, -1)))
                corner = left + int(x[best]), top + int(y[best])
                example = (*corner, corner[0] + int(widths[best]), corner[1] + int(heights[best]))
            found[label] = Objects(
                len(stats), int(areas.sum()), int(tiny.sum()), int(areas[tiny].sum()), int(areas[large].sum()), example
            )
        return found


def looks(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a thumbnail and a perceptual hash of an image of any kind, see `seg.draw.rgb`.

    The hash holds the signs of a cosine transform's lowest frequencies, as pHash does: what re-encoding and scaling
    leave alone. An image without structure has none.
    """
    grey = cv2.cvtColor(cv2.resize(rgb(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    if float(grey.std()) < _FLAT:
        return grey, None
    waves = cv2.dct(grey.astype(np.float32))
    return grey, np.packbits(waves.ravel()[_LOWEST] > 0)


def measure(pairs: Sequence[Pair], measuring: Measuring, workers: int | None = None) -> list[Measured]:
    """Read pairs, each once, with a progress bar where there are many and somebody watches.

    Args:
        pairs: the files.
        measuring: what is done to each.
        workers: processes; one a core where not given, 0 or 1 reads in this process.

    """
    workers = min(os.cpu_count() or 1 if workers is None else workers, -(-len(pairs) // _CHUNK))
    results: Iterable[Measured]
    with contextlib.ExitStack() as stack:
        if workers <= 1 or len(pairs) <= FEW:
            results = map(measuring, pairs)
        else:
            # Forked where that is safe: the data modules' imports would take longer than most data sets.
            context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
            pool = ProcessPoolExecutor(workers, context, _begin, (measuring,))
            stack.callback(pool.shutdown, cancel_futures=True)
            results = _together(pool, pairs, measuring)
        shown = tqdm(results, "reading", len(pairs), unit="pair", disable=not sys.stderr.isatty(), leave=False)
        return list(shown)


def _together(pool: ProcessPoolExecutor, pairs: Sequence[Pair], measuring: Measuring) -> Iterator[Measured]:
    """Yield what the pool measures; after the death of a process, what is left is read by one process a pair."""
    done = 0
    try:
        for measured in pool.map(_measure, pairs, chunksize=_CHUNK):
            yield measured
            done += 1
    except BrokenProcessPool:
        for pair in pairs[done:]:
            yield _apart(pair, measuring)


def _apart(pair: Pair, measuring: Measuring) -> Measured:
    """Measure a pair in a process of its own, whose death is the pair's fault."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (measuring,)) as pool:
        try:
            return pool.submit(_measure, pair).result()
        except BrokenProcessPool:
            return Measured(pair, image_error="reading it ends the process: out of memory, or a damaged file")


_here: list[Measuring] = []
"""In a worker process, what it does to each pair."""


def _begin(measuring: Measuring) -> None:
    start_worker(0)
    _here.append(measuring)


def _measure(pair: Pair) -> Measured:
    return _here[-1](pair)


def _digest(array: np.ndarray) -> bytes:
    data = np.ascontiguousarray(array)
    return hashlib.blake2b(data.data, digest_size=16, key=repr(data.shape).encode()).digest()


def _told(error: Exception) -> str:
    if isinstance(error, ValueError | OSError):
        return str(error)
    return f"cannot be decoded ({type(error).__name__}: {' '.join(str(error).split())[:200]})"


def _lowest() -> np.ndarray:
    """Return the places of the lowest frequencies but the mean in a transform, shuffled so that no band is alike."""
    down, across = np.divmod(np.arange(SIDE * SIDE), SIDE)
    order = np.argsort(down**2 + across**2, kind="stable")[1 : BITS + 1]
    return np.asarray(np.random.default_rng(0).permutation(order))


_LOWEST = _lowest()
