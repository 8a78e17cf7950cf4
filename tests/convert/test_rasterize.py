"""The scanline rasteriser, against the rule spelled out pixel by pixel in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seg.convert import rasterize
from seg.convert.rasterize import LARGEST, fill_polygon, fill_polygons


def by_the_rule(height: int, width: int, polygons: list[list[tuple[float, float]]], values: list[int]) -> np.ndarray:
    """Draw row by row and edge by edge, in float32 scalars for the crossings and plain numbers for everything else."""
    mask = np.zeros((height, width), np.uint8)
    for polygon, value in zip(polygons, values, strict=True):
        points = [(np.float32(x), np.float32(y)) for x, y in polygon]
        for row in range(height):
            line = np.float32(row + 0.5)
            crossings = []
            for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
                if min(y0, y1) <= line < max(y0, y1):
                    crossings.append(float((line - y0) * ((x1 - x0) / (y1 - y0)) + x0))
            crossings.sort()
            for left, right in zip(crossings[::2], crossings[1::2], strict=True):
                for column in range(max(0, math.ceil(left - 0.5)), min(width - 1, math.floor(right + 0.5)) + 1):
                    mask[row, column] = value
    return mask


def drawn(height: int, width: int, polygons: list[list[tuple[float, float]]], values: list[int]) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    points = np.array([point for polygon in polygons for point in polygon], np.float64).reshape(-1, 2)
    fill_polygons(mask, points, [len(polygon) for polygon in polygons], values)
    return mask


halves = st.integers(-20, 60).map(lambda number: number / 2)
numbers = st.one_of(st.integers(-10, 30), halves, st.floats(-30, 50, width=32), st.floats(-1e7, 1e7))
outlines = st.lists(st.lists(st.tuples(numbers, numbers), max_size=9), max_size=5)


@settings(max_examples=400, deadline=None)
@given(outlines, st.integers(1, 24), st.integers(1, 24))
@example([[(0.49999997, 0), (0.49999997, 2), (5, 2), (5, 0)]], 3, 9)
@example([[(3, 1), (3, 9)], [(2, 2)], []], 12, 12)
def test_every_pixel_is_what_the_rule_says(polygons, height, width):
    values = list(range(1, 1 + len(polygons)))
    expected = by_the_rule(height, width, polygons, values)
    np.testing.assert_array_equal(drawn(height, width, polygons, values), expected)


@settings(max_examples=100, deadline=None)
@given(outlines, st.integers(1, 40))
def test_filling_in_bands_of_rows_gives_the_same_pixels(polygons, at_once):
    values = list(range(1, 1 + len(polygons)))
    whole = drawn(20, 17, polygons, values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rasterize, "_AT_ONCE", at_once)
        np.testing.assert_array_equal(drawn(20, 17, polygons, values), whole)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=8))
def test_a_pixel_whose_centre_is_inside_is_filled(polygon):
    mask = drawn(20, 20, [polygon], [1])
    edges = list(zip(polygon, polygon[1:] + polygon[:1], strict=True))
    for row, column in np.argwhere(mask == 0):
        x, y = column, row + 0.5  # columns are counted from their middle, rows from their upper end
        right = 0
        for (x0, y0), (x1, y1) in edges:
            if min(y0, y1) <= y < max(y0, y1):
                cross = (y - y0) * (x1 - x0) / (y1 - y0) + x0
                if abs(cross - x) < 0.4 or min(abs(y - y0), abs(y - y1)) < 1e-4:
                    break  # too near to tell in float64 what float32 makes of it
                right += cross > x
        else:
            assert right % 2 == 0, (row, column)


def test_later_polygons_lie_over_earlier_ones_and_holes_stay_as_they_were():
    square = [(2, 2), (12, 2), (12, 12), (2, 12)]
    inner = [(5, 5), (9, 5), (9, 9), (5, 9)]
    both = drawn(15, 15, [square, inner], [1, 2])
    assert both[7, 7] == 2
    assert both[3, 3] == 1
    assert drawn(15, 15, [inner, square], [2, 1])[7, 7] == 1
    ring = [*square, square[0], *inner, inner[0]]
    assert drawn(15, 15, [ring], [1])[7, 7] == 0
    assert drawn(15, 15, [ring], [1])[3, 3] == 1


def test_polygons_wholly_outside_change_nothing():
    mask = np.full((10, 10), 7, np.uint8)
    for x, y in ((-50, 0), (50, 0), (0, -50), (0, 50)):
        fill_polygon(mask, np.array([(x, y), (x + 9, y), (x + 9, y + 9), (x, y + 9)]), 1)
    assert (mask == 7).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, LARGEST, -LARGEST])
def test_coordinates_that_are_no_pixels_are_refused_before_anything_is_drawn(bad):
    mask = np.zeros((10, 10), np.uint8)
    points = np.array([(0, 0), (9, 0), (9, 9), (0, 0), (9, 0), (9, bad)])
    with pytest.raises(ValueError, match="is not a number of pixels"):
        fill_polygons(mask, points, [3, 3], [1, 2])
    assert not mask.any()


def test_the_largest_and_the_closest_coordinates_give_a_mask():
    big, tiny = np.nextafter(LARGEST, 0), np.float32(1e-45)
    for points in (
        [(-big, -big), (big, -big), (big, big), (-big, big)],
        [(-big, 0.5), (big, np.nextafter(np.float32(0.5), np.float32(1))), (0, 9)],
        [(-big, 0), (big, tiny), (0, 9)],
    ):
        expected = by_the_rule(10, 10, [points], [1])
        np.testing.assert_array_equal(drawn(10, 10, [points], [1]), expected)


def test_an_outline_of_a_million_corners_is_drawn():
    angle = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    radius = 90 + np.sin(1000 * angle)
    mask = np.zeros((200, 200), np.uint8)
    fill_polygon(mask, np.stack([100 + radius * np.cos(angle), 100 + radius * np.sin(angle)], 1), 1)
    rows, columns = np.indices(mask.shape)
    distance = np.hypot(rows + 0.5 - 100, columns - 100)
    assert mask[distance < 88].all()
    assert not mask[distance > 92].any()


def test_a_scribble_of_a_million_corners_is_refused_at_once():
    points = np.random.default_rng(0).uniform(0, 1000, (1_000_000, 2))
    with pytest.raises(ValueError, match="1000000 corners whose edges cross"):
        fill_polygon(np.zeros((1000, 1000), np.uint8), points, 1)
