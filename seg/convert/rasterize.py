"""Polygons to pixels by even-odd scanlines: the rule that Cityscapes' official masks were drawn by."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

LARGEST = 2.0**24
"""Coordinates must stay below: the first number from which on float32 does not tell neighbouring pixels apart."""
MOST_CROSSINGS = 1 << 26
"""Edges times the scanlines that they cross, at most: some 5 seconds of work. A street scene has 25 thousand."""
_AT_ONCE = 1 << 20  # crossings held in memory at a time


def fill_polygon(mask: np.ndarray, points: np.ndarray, value: int) -> None:
    """Fill one polygon; see `fill_polygons`."""
    fill_polygons(mask, points, [len(points)], [value])


def fill_polygons(mask: np.ndarray, points: np.ndarray, lengths: Sequence[int], values: Sequence[int]) -> None:
    """Fill polygons in order, later over earlier; what lies outside the mask is cut off.

    The middle line y + 0.5 of every row of pixels is crossed with the edges, in float32, and filled from the pixel
    ceil(left − 0.5) to the pixel floor(right + 0.5), both included, between the first crossing and the second, the
    third and the fourth, and so on. An edge reaches from its upper end to just above its lower one. No outline is
    drawn, so that a single point leaves nothing, and two points the pixels on their line.

    Args:
        mask: uint8 (H, W), contiguous, filled in place.
        points: (N, 2), x and y in pixels of the corners of all polygons, one polygon after the other.
        lengths: the number of corners of each polygon; they add up to N.
        values: what each polygon is filled with, 0..255.

    Raises:
        ValueError: a coordinate that is not a number below `LARGEST`, or more crossings than `MOST_CROSSINGS`.

    """
    assert mask.dtype == np.uint8, mask.dtype
    assert mask.flags.c_contiguous
    assert sum(lengths) == len(points), (sum(lengths), len(points))
    if not len(points):
        return
    points = np.asarray(points, np.float64)
    if not (fits := np.abs(points) < LARGEST).all():  # NaN does not, either
        raise ValueError(f"coordinate {points[~fits][0]:g} is not a number of pixels within ±{LARGEST:.0f}")
    x0, y0 = points.astype(np.float32).T
    follows = np.arange(1, len(points) + 1)
    ends = np.cumsum(lengths)
    closed = np.asarray(lengths) > 0
    follows[ends[closed] - 1] = (ends - lengths)[closed]
    x1, y1 = x0[follows], y0[follows]
    # Row r has its middle line on an edge if upper end <= r + 0.5 < lower end.
    first = np.ceil(np.minimum(y0, y1) - 0.5).clip(0, len(mask)).astype(np.int64)
    stop = np.ceil(np.maximum(y0, y1) - 0.5).clip(0, len(mask)).astype(np.int64)
    crossing = np.flatnonzero(first < stop)
    if (number := int((stop - first).sum())) > MOST_CROSSINGS:
        raise ValueError(
            f"{len(points)} corners whose edges cross {number} rows of pixels, far more than outlines do "
            f"(at most {MOST_CROSSINGS} are drawn)"
        )
    polygon = np.repeat(np.arange(len(lengths)), lengths)[crossing]
    x0, y0, x1, y1, first, stop = (each[crossing] for each in (x0, y0, x1, y1, first, stop))
    slope = (x1 - x0) / (y1 - y0)
    _fill_rows(mask, (x0, y0, slope, polygon, first, stop), np.asarray(values, np.uint8), 0, len(mask))


def _fill_rows(mask: np.ndarray, edges: tuple[np.ndarray, ...], values: np.ndarray, top: int, bottom: int) -> None:
    """Fill the rows top to bottom − 1, in halves where their crossings are too many to hold at once."""
    x0, y0, slope, polygon, first, stop = edges
    counts = stop - first
    total = int(counts.sum())
    if total > _AT_ONCE and bottom - top > 1:
        middle = (top + bottom) // 2
        above, below = first < middle, stop > middle
        upper = (x0, y0, slope, polygon, first, stop.clip(max=middle))
        lower = (x0, y0, slope, polygon, first.clip(min=middle), stop)
        _fill_rows(mask, tuple(each[above] for each in upper), values, top, middle)
        _fill_rows(mask, tuple(each[below] for each in lower), values, middle, bottom)
        return
    row = np.arange(total, dtype=np.int32) - np.repeat((np.cumsum(counts) - counts - first).astype(np.int32), counts)
    x = row.astype(np.float32)
    x += 0.5
    x -= np.repeat(y0, counts)
    x *= np.repeat(slope, counts)
    x += np.repeat(x0, counts)

    # The first pixel that a crossing fills is ceil(x − 0.5), the last one floor(x + 0.5): the same, or the next where x
    # lies half-way. The pixel and that bit, below the row and the polygon, make a number that sorts as crossings do.
    width = mask.shape[1]
    np.clip(x, -1, width, out=x)
    pixel = np.ceil(x - np.float32(0.5))
    halfway = x == pixel + np.float32(0.5)
    column_bits, row_bits = (width + 1).bit_length() + 1, len(mask).bit_length()
    key = np.repeat(polygon << (row_bits + column_bits), counts)
    key += row.astype(np.int64) << column_bits
    key += (pixel.astype(np.int64) + 1) << 1
    key += halfway
    key.sort()
    odd, even = key[0::2], key[1::2]
    columns = (1 << column_bits) - 1
    origin = (odd >> column_bits & (1 << row_bits) - 1) * width
    starts = origin + np.maximum((odd & columns) >> 1, 1) - 1
    stops = origin + np.minimum(((even & columns) >> 1) + (even & 1), width)
    painted = values[odd >> (column_bits + row_bits)]
    flat, begins, finishes = mask.reshape(-1).data, starts.tolist(), stops.tolist()
    changes = [0, *(np.flatnonzero(painted[1:] != painted[:-1]) + 1).tolist(), len(begins)]
    for since, until in pairwise(changes):
        whole = painted[since:until][:1].tobytes() * width  # a slice of bytes is what is copied fastest
        for begin, finish in zip(begins[since:until], finishes[since:until], strict=True):
            flat[begin:finish] = whole[: finish - begin]
