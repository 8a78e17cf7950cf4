"""Counting the pixels of every class in every mask, once: what class weights, sampling and splits are computed from."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seg.data.cache import disk_folder, fingerprint
from seg.data.classes import IGNORE
from seg.data.dataset import Pair, Reader
from seg.data.images import Labels
from seg.files import replacing

_MANY = 500  # masks; to count fewer takes a moment only, and needs no progress bar


def class_counts(pairs: Sequence[Pair], labels: Labels, reader: Reader, root: Path) -> np.ndarray:
    """Count the pixels of each class in each mask; the counts are kept beside the data set until a mask changes.

    Args:
        pairs: the files.
        labels: what the values in the masks mean.
        reader: how files become pixels.
        root: folder of the data set.

    Returns:
        int64 (images, classes + 1); the last column counts ignored pixels.

    """
    settings = (labels.num_classes, sorted(labels.label_map.items()), reader.settings())
    kept = disk_folder(root) / f"pixels-{fingerprint(settings, [])}.json"
    # what is kept is a list of [class, pixels] a mask, of the classes that it has: short where there are 150 of them
    counts = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    keys = [fingerprint(pair.id, reader.files(pair)) for pair in pairs]
    todo = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in counts}

    def count(pair: Pair) -> list[list[int]]:
        mask = labels.apply(reader.mask(pair), pair.mask)
        return [[label, pixels] for label, pixels in enumerate(np.bincount(mask.ravel()).tolist()) if pixels]

    if todo:
        # threads: decoding, which takes the time, holds no lock
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            quiet = len(todo) < _MANY or None  # None: only where somebody can see it
            counted = tqdm(pool.map(count, todo.values()), "counting classes", len(todo), unit="mask", disable=quiet)
            counts |= dict(zip(todo, counted, strict=True))
        with replacing(kept) as temporary:
            temporary.write_text(json.dumps(counts), encoding="utf-8")

    assert labels.num_classes <= IGNORE
    result = np.zeros((len(pairs), labels.num_classes + 1), np.int64)
    for row, key in zip(result, keys, strict=True):
        for label, pixels in counts[key]:
            row[-1 if label == IGNORE else label] = pixels
    return result


def pixel_counts(pairs: Sequence[Pair], labels: Labels, reader: Reader, root: Path) -> tuple[list[int], list[int]]:
    """Count a split's pixels, see `class_counts`.

    Returns:
        for each class its pixels, and the pixels (ignored ones too) of the images that contain it.

    """
    counts = class_counts(pairs, labels, reader, root)
    classes, sizes = counts[:, :-1], counts.sum(1)
    return classes.sum(0).tolist(), ((classes > 0) * sizes[:, None]).sum(0).tolist()
