"""Counting the pixels of every class in a split, once: the figures that class weights are computed from."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seg.data.cache import disk_folder, fingerprint
from seg.data.classes import IGNORE
from seg.data.dataset import Pair, Reader
from seg.data.images import Labels
from seg.files import replacing


def pixel_counts(pairs: Sequence[Pair], labels: Labels, reader: Reader, root: Path) -> tuple[list[int], list[int]]:
    """Count a split's pixels; the counts are kept beside the data set until a mask changes.

    Args:
        pairs: the files of the split.
        labels: what the values in the masks mean.
        reader: how files become pixels.
        root: folder of the data set.

    Returns:
        for each class its pixels, and the pixels (ignored ones too) of the images that contain it.
    """
    settings = (labels.num_classes, sorted(labels.label_map.items()), reader.settings())
    key = fingerprint(settings, [file for pair in pairs for file in reader.files(pair)])
    kept = disk_folder(root) / f"pixels-{key}.json"
    if kept.is_file():
        held = json.loads(kept.read_text(encoding="utf-8"))
        return held["pixels"], held["image_pixels"]
    pixels, image_pixels = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for pair in pairs:
        mask = labels.apply(reader.mask(pair), pair.mask)
        counts = np.bincount(mask.ravel(), minlength=256)
        pixels += counts
        image_pixels += (counts > 0) * mask.size
    assert labels.num_classes <= IGNORE
    result = pixels[: labels.num_classes].tolist(), image_pixels[: labels.num_classes].tolist()
    with replacing(kept) as temporary:
        temporary.write_text(json.dumps({"pixels": result[0], "image_pixels": result[1]}), encoding="utf-8")
    return result
