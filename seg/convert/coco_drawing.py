"""Drawing COCO's instances, polygons and run lengths, as a mask of classes, by COCO's own rules (pycocotools)."""

import json
from typing import Any

import numpy as np

from seg.convert.coco_file import Frame
from seg.data.classes import IGNORE

CROWD = ("ignore", "object", "background")
"""What a crowd region can become: 255, an object like any other, or nothing."""


def draw(frame: Frame, height: int, width: int, values: dict[int, int], crowd: str = "ignore") -> np.ndarray:
    """Return an image's mask.

    Larger objects are drawn first, so that smaller ones lie on top; equal ones in the file's order. Areas are counted,
    not taken from the file. Crowds are at the bottom, unless they are objects.

    Args:
        frame: the image with its annotations.
        height: of the image in pixels.
        width: of the image in pixels.
        values: category -> value.
        crowd: one of `CROWD`.

    Returns:
        uint8 (H, W), 0 where nothing is annotated.

    Raises:
        ValueError: a segmentation that is none: coordinates in odd number, not finite or far outside the image, run
            lengths of another size, or none at all. The message names the annotation.

    """
    from pycocotools import mask as masks

    drawn: list[tuple[int, int, np.ndarray]] = []
    for number, category, is_crowd, segmentation in json.loads(frame.annotations):
        apart = is_crowd and crowd != "object"
        if apart and crowd == "background":
            continue
        try:
            runs = _runs(segmentation, height, width)
        except ValueError as error:
            raise ValueError(f"annotation {number} of {frame.path}: {error}") from None
        if runs:
            whole = masks.merge(runs)
            bottom = height * width + 1
            drawn.append((bottom if apart else int(masks.area(whole)), IGNORE if apart else values[category], whole))
    mask = np.zeros((height, width), dtype=np.uint8)
    for _, value, whole in sorted(drawn, key=lambda part: -part[0]):
        mask[masks.decode(whole).view(bool)] = value
    return mask


def _runs(segmentation: Any, height: int, width: int) -> list[Any]:
    """Return a segmentation as pycocotools' run lengths, after a check: what is wrong can crash its C code."""
    from pycocotools import mask as masks

    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if size != [height, width]:
            raise ValueError(f"its run lengths are for size {size}, the image is {[height, width]} (height, width)")
        lengths = _from_text(counts) if isinstance(counts, str) else _from_list(counts)
        if lengths is None or int(lengths.sum()) != height * width:
            raise ValueError("its run lengths are damaged: they do not make up the image")
        return [masks.frPyObjects({"size": size, "counts": lengths.tolist()}, height, width)]
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("it has no segmentation, neither polygons nor run lengths; a box alone makes no mask")
    polygons = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or not all(type(value) in (int, float) for value in polygon):
            raise ValueError("a polygon is no flat list of numbers x, y, x, y, …")
        if len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} coordinates; x and y make an even number")
        try:
            points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
        except OverflowError:
            points = np.full((1, 2), np.inf)
        limit = np.array([width, height])
        if not np.all((points >= -limit) & (points <= 2 * limit)):  # false for NaN, too
            raise ValueError(
                f"a polygon has points far outside the image of {width}×{height} (width × height); "
                "is it drawn on another one, or at another scale?"
            )
        if len(points) > 2:  # fewer enclose nothing
            polygons.append(points.ravel().tolist())
    return list(masks.frPyObjects(polygons, height, width)) if polygons else []


def _from_list(counts: Any) -> np.ndarray | None:
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count < 1 << 32 for count in counts):
        return None
    return np.array(counts, dtype=np.int64)


def _from_text(counts: str) -> np.ndarray | None:
    """Return the run lengths of COCO's compressed text, None where it is damaged.

    A number is written five bits a character, the lowest first, as chr(48 + bits), bit 5 telling that more follow and
    bit 4 of the last one the sign; from the fourth number on what is written is the difference to the one before last.
    Source: pycocotools, maskApi.c, rleToString.
    """
    try:
        codes = np.frombuffer(counts.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        return None
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    last = np.flatnonzero((codes & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 6:  # 7 characters hold 35 bits
        return None
    place = np.arange(len(codes)) - np.repeat(first, last - first + 1)
    numbers = np.add.reduceat((codes & 31) << (5 * place), first)
    numbers -= (codes[last] >> 4 & 1) << (5 * (last - first + 1))
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers if numbers.min() >= 0 and numbers.max() < 1 << 32 else None
