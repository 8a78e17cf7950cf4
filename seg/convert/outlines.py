"""Masks to polygons whose redrawing gives the mask again, holes and touching classes included."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from seg.convert.labelme_labels import BACKGROUND_LABEL as BACKGROUND
from seg.convert.labelme_labels import IGNORE_LABEL as IGNORED

LEAST_IOU = 0.99
"""What every class of a mask keeps when its polygons are redrawn, whatever the tolerance."""

_FINEST = 0.2  # pixels; outlines on the pixel grid that are simplified by less hardly lose a point


class Outline(NamedTuple):
    """The outer border of a connected region: its value, and its border pixels (N, 2) as x, y, in order."""

    value: int
    pixels: np.ndarray


def mask_to_shapes(mask: np.ndarray, names: Sequence[str], tolerance: float = 1.0) -> list[dict[str, Any]]:
    """Return a mask as labelme's polygons, to be drawn in their order, each over those before.

    A hole is whatever fills it, drawn later: a polygon of another class, of `_background_`, or of `__ignore__` (255).
    So labelme shows it, and every converter that draws in file order, labelme's own too, gives the mask back. With
    tolerance 0 all pixels are the same; otherwise outlines are simplified by at most the tolerance, and by less where a
    class of this mask would be redrawn with an IoU under 0.99.

    Args:
        mask: uint8 (H, W), 255 = ignore.
        names: class names by value. Where the first one is "background", with or without underscores, that class is
            the ground that need not be outlined.
        tolerance: distance in pixels that an outline may move.

    Returns:
        one dict a polygon, as in the "shapes" of labelme's JSON; points are in pixels, the centre of the first pixel
        being (0.5, 0.5).

    Raises:
        ValueError: a value that has no name, or a negative tolerance.

    """
    check_tolerance(tolerance)
    labels = {value: str(name) for value, name in enumerate(names)} | {255: IGNORED}
    if unnamed := [str(value) for value in np.unique(mask) if int(value) not in labels]:
        raise ValueError(f"value {', '.join(unnamed)} has no name: {len(names)} classes are named, 0..{len(names) - 1}")
    ground = 0 if names and is_background(str(names[0])) else None
    if ground is not None:
        labels[0] = BACKGROUND
    return [
        {
            "label": labels[outline.value],
            # the drawing truncates: half a pixel on, the outline runs where the pixels are seen, and draws the same
            "points": [[x + 0.5, y + 0.5] for x, y in points.tolist()],
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for outline, points in simplified(mask, trace(mask, ground), tolerance)
    ]


def is_background(name: str) -> bool:
    """Tell whether a class of this name is whatever nobody outlined."""
    return name.strip("_").casefold() == "background"


def check_tolerance(tolerance: float) -> None:
    """Refuse what is no distance in pixels."""
    if not 0 <= tolerance < float("inf"):
        raise ValueError(f"tolerance: {tolerance} must be a number of pixels, 0 or more")


def trace(mask: np.ndarray, ground: int | None = None) -> list[Outline]:
    """Return the outlines of all regions, in an order in which drawing and filling them gives the mask.

    Args:
        mask: uint8 (H, W).
        ground: value of the canvas that is drawn upon; its regions are left out unless they lie in another's hole.

    """
    try:
        return _trace(mask, ground, crossing=True)
    except CycleError:  # two regions, each in a bay of the other that a corner closes
        return _trace(mask, ground, crossing=False)


def _trace(mask: np.ndarray, ground: int | None, crossing: bool) -> list[Outline]:
    from scipy.ndimage import find_objects

    count, regions = _regions(mask, ground, crossing)
    boxes, outlines, filled = find_objects(regions + 1, count), list[Outline](), list[np.ndarray]()
    for index, box in enumerate(boxes):
        own = (regions[box] == index).view(np.uint8)
        contours, _ = cv2.findContours(own, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled.append(cv2.drawContours(np.zeros_like(own), contours, 0, 1, cv2.FILLED) > 0)
        pixels = contours[0][:, 0] + (box[1].start, box[0].start)
        outlines.append(Outline(int(mask[pixels[0, 1], pixels[0, 0]]), pixels))

    # A region comes after all whose filled outlines cover some of it: then its own pixels are drawn last by itself.
    order: TopologicalSorter[int] = TopologicalSorter()
    for index in sorted(range(count), key=lambda index: -np.count_nonzero(filled[index])):
        order.add(index)
        inside = regions[boxes[index]][filled[index]]
        for inner in np.unique(inside[inside != index]).tolist():
            order.add(inner, index)
    found, covered = [], np.zeros(mask.shape, dtype=bool)
    for index in order.static_order():
        x, y = outlines[index].pixels[0]
        if outlines[index].value != ground or covered[y, x]:
            found.append(outlines[index])
            covered[boxes[index]] |= filled[index]
    return found


def simplified(mask: np.ndarray, outlines: Sequence[Outline], tolerance: float) -> list[tuple[Outline, np.ndarray]]:
    """Return outlines with the points that are needed, (N, 2), N ≥ 3: fewer by the tolerance, if all classes last.

    Where a class loses more than `LEAST_IOU` allows, the tolerance of its outlines, and of those drawn over it, goes
    down by steps until it does not.
    """
    values = np.array([0] + [outline.value for outline in outlines])
    tolerances = np.full(len(values), float(tolerance))
    points = [_fewer(outline.pixels, tolerance) for outline in outlines]
    truth = np.bincount(mask.ravel(), minlength=256)
    while tolerance:
        last = drawn(mask.shape, points)
        redrawn = values[last].astype(np.uint8)
        same = np.bincount(mask[redrawn == mask], minlength=256)
        either = truth + np.bincount(redrawn.ravel(), minlength=256) - same
        poor = same < LEAST_IOU * either
        if not poor.any():
            break
        blamed = poor[values]
        blamed[last[(redrawn != mask) & poor[mask]]] = True
        blamed[0] = False
        if not tolerances[blamed].any():  # what is in the way is not drawn over it, but missing beside it
            blamed[1:] = True
        tolerances[blamed] *= 0.7
        tolerances[tolerances < _FINEST] = 0
        if not tolerances[1:].any():
            tolerance = 0
        for index in np.flatnonzero(blamed).tolist():
            points[index - 1] = _fewer(outlines[index - 1].pixels, tolerances[index])
    return list(zip(outlines, points, strict=True))


def _regions(mask: np.ndarray, ground: int | None, crossing: bool) -> tuple[int, np.ndarray]:
    """Return the number of connected regions of one value each, and the map of their numbers from 0, int (H, W).

    Pixels that touch at a corner belong together, unless those at the other two corners do: a line cannot cross a line.
    With `crossing` it can, the rarer value's the other's, so that thin lines stay whole. Without, outlines nest, and an
    order to draw them in always exists.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    regions, count = np.zeros(mask.shape, dtype=np.int32), 0
    for value in np.unique(mask):
        found, numbers = cv2.connectedComponents((mask == value).view(np.uint8), connectivity=4)
        np.copyto(regions, numbers + (count - 1), where=numbers > 0)
        count += found - 1
    rank = np.zeros(256, dtype=np.int64)
    if crossing:
        rank[np.argsort(-np.bincount(mask.ravel(), minlength=256), kind="stable")] = np.arange(256)
        rank[[] if ground is None else [ground]] = -1
    a, b, c, d = mask[:-1, :-1], mask[:-1, 1:], mask[1:, :-1], mask[1:, 1:]
    falling = (a == d) & ((b != c) | (rank[a] > rank[b]))
    rising = (b == c) & ((a != d) | (rank[b] > rank[a]))
    one = np.concatenate([regions[:-1, :-1][falling], regions[:-1, 1:][rising]])
    other = np.concatenate([regions[1:, 1:][falling], regions[1:, :-1][rising]])
    links = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    count, joined = connected_components(links, directed=False)
    return int(count), joined[regions]


def _fewer(pixels: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the points of a closed outline that are needed to stay within the tolerance; a polygon has 3 or more."""
    points = cv2.approxPolyDP(pixels.astype(np.int32), tolerance, True)[:, 0]
    return np.concatenate([points, np.repeat(points[:1], max(0, 3 - len(points)), axis=0)])


def drawn(size: tuple[int, ...], polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Return which polygon, counted from 1, was drawn last at each pixel, as labelme draws: Pillow's outline + fill."""
    canvas = Image.new("I", (size[1], size[0]))
    draw = ImageDraw.Draw(canvas)
    for number, points in enumerate(polygons, 1):
        draw.polygon([(x, y) for x, y in points.tolist()], fill=number, outline=number)
    return np.array(canvas)
