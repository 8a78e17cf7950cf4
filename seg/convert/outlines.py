"""Masks to polygons whose redrawing gives the mask again, holes and touching classes included."""

from collections.abc import Iterator, Sequence
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
_AT_ONCE = 1 << 22  # pixels whose numbers are held in memory at a time


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
    if unnamed := [str(value) for value in np.flatnonzero(_counts(mask)) if int(value) not in labels]:
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
    outlines, areas, inner = list[Outline](), list[int](), list[list[int]]()
    for index, box in enumerate(find_objects(regions, count)):
        filled = (regions[box] == index + 1).view(np.uint8)
        contours, _ = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(filled, contours, 0, 1, cv2.FILLED)
        pixels = contours[0][:, 0] + (box[1].start, box[0].start)
        outlines.append(Outline(int(mask[pixels[0, 1], pixels[0, 0]]), pixels))
        areas.append(int(np.count_nonzero(filled)))
        inner.append([number - 1 for number in _others(regions[box], filled, index + 1)])

    # A region comes after all whose filled outlines cover some of it: then its own pixels are drawn last by itself.
    order: TopologicalSorter[int] = TopologicalSorter()
    for index in sorted(range(count), key=lambda index: -areas[index]):
        order.add(index)
        for number in inner[index]:
            order.add(number, index)
    found, covered = [], set[int]()
    for index in order.static_order():
        if outlines[index].value != ground or index in covered:
            found.append(outlines[index])
            covered.update(inner[index])
    return found


def _others(regions: np.ndarray, filled: np.ndarray, own: int) -> list[int]:
    """Return the numbers other than its own that lie inside the filled outline of a region."""
    found = set[int]()
    for rows in _bands(*regions.shape):
        part = regions[rows]
        found.update(np.unique(part[(filled[rows] != 0) & (part != own)]).tolist())
    return sorted(found)


def _bands(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of a mask of this size, from top to bottom, some at a time: maps of numbers are never whole."""
    rows = max(1, _AT_ONCE // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def simplified(mask: np.ndarray, outlines: Sequence[Outline], tolerance: float) -> list[tuple[Outline, np.ndarray]]:
    """Return outlines with the points that are needed, (N, 2), N ≥ 3: fewer by the tolerance, if all classes last.

    Where a class loses more than `LEAST_IOU` allows, the tolerance of its outlines, and of those drawn over it, goes
    down by steps until it does not.
    """
    values = np.array([0] + [outline.value for outline in outlines], np.uint8)
    tolerances = np.full(len(values), float(tolerance))
    points = [_fewer(outline.pixels, tolerance) for outline in outlines]
    while tolerance:
        same, either = np.zeros(256, np.int64), np.zeros(256, np.int64)
        for rows, last in drawn(mask.shape, points):
            truth, redrawn = mask[rows], values[last]
            agreed = np.bincount(truth[redrawn == truth], minlength=256)
            same += agreed
            either += np.bincount(truth.ravel(), minlength=256) + np.bincount(redrawn.ravel(), minlength=256) - agreed
        poor = same < LEAST_IOU * either
        if not poor.any():
            break
        blamed = poor[values]
        for rows, last in drawn(mask.shape, points):
            truth = mask[rows]
            blamed[last[(values[last] != truth) & poor[truth]]] = True
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
    """Return the number of connected regions of one value each, and the map of their numbers from 1, (H, W).

    Pixels that touch at a corner belong together, unless those at the other two corners do: a line cannot cross a line.
    With `crossing` it can, the rarer value's the other's, so that thin lines stay whole. Without, outlines nest, and an
    order to draw them in always exists.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rank = np.zeros(256, dtype=np.int16)
    if crossing:
        rank[np.argsort(-_counts(mask), kind="stable")] = np.arange(256)
        rank[[] if ground is None else [ground]] = -1
    # Runs of a value along a row are what is joined. They are numbered anew wherever they are needed, for a map of all
    # their numbers would be the largest array here.
    links, count = [], 0
    for rows, runs in _runs(mask):
        pixels = mask[rows.start : rows.start + len(runs)]
        a, b, c, d = _corners(pixels)
        falling = (a == d) & ((b != c) | (rank[a] > rank[b]))
        rising = (b == c) & ((a != d) | (rank[b] > rank[a]))
        # of two runs that lie along each other one link does: where the later one of them begins
        along = pixels[:-1] == pixels[1:]
        along[:, 1:] &= (a != b) | (c != d)
        one, right, under, across = _corners(runs)
        links += [(one[falling], across[falling]), (right[rising], under[rising]), (runs[:-1][along], runs[1:][along])]
        count = int(runs[rows.stop - rows.start - 1, -1]) + 1
    one, other = (np.concatenate(parts) for parts in zip(*links, strict=True))
    joints = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    count, joined = connected_components(joints, directed=False)
    numbers = (joined + 1).astype(np.uint16 if count < 1 << 16 else np.int32)
    regions = np.empty(mask.shape, numbers.dtype)
    for rows, runs in _runs(mask):
        regions[rows] = numbers[runs[: rows.stop - rows.start]]
    return int(count), regions


def _runs(mask: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield some rows and the numbers of their runs of one value, int32 (h, W), and of the next row's, if there is one.

    A run begins with every row, and is numbered from 0 over the whole mask.
    """
    first = 0
    for rows in _bands(*mask.shape):
        part = mask[rows.start : rows.stop + 1]
        begins = np.ones(part.shape, bool)
        np.not_equal(part[:, 1:], part[:, :-1], out=begins[:, 1:])
        runs = np.cumsum(begins.ravel(), dtype=np.int32).reshape(part.shape)
        runs += first - 1
        yield rows, runs
        first = int(runs[rows.stop - rows.start - 1, -1]) + 1


def _corners(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the upper left, upper right, lower left and lower right pixels of all squares of four."""
    return pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, :-1], pixels[1:, 1:]


def _counts(mask: np.ndarray) -> np.ndarray:
    """Return how many pixels have each of the 256 values."""
    counts = np.zeros(256, np.int64)
    for rows in _bands(*mask.shape):
        counts += np.bincount(mask[rows].ravel(), minlength=256)
    return counts


def _fewer(pixels: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the points of a closed outline that are needed to stay within the tolerance; a polygon has 3 or more."""
    points = cv2.approxPolyDP(pixels.astype(np.int32), tolerance, True)[:, 0]
    return np.concatenate([points, np.repeat(points[:1], max(0, 3 - len(points)), axis=0)])


def drawn(size: tuple[int, ...], polygons: Sequence[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield which polygon, counted from 1, was drawn last at each pixel of some rows, int32 (h, W), from top to bottom.

    As labelme draws: Pillow's outline and fill, which cut fractions of a pixel off.
    """
    height, width = size
    corners = [np.trunc(points).astype(np.int64) for points in polygons]
    reach = np.array([(points[:, 1].min(), points[:, 1].max()) for points in corners]).reshape(-1, 2)
    for rows in _bands(height, width):
        canvas = Image.new("I", (width, rows.stop - rows.start))
        draw = ImageDraw.Draw(canvas)
        for index in np.flatnonzero((reach[:, 0] < rows.stop) & (reach[:, 1] >= rows.start)).tolist():
            draw.polygon((corners[index] - (0, rows.start)).ravel().tolist(), fill=index + 1, outline=index + 1)
        yield rows, np.asarray(canvas)
