"""Large masks by bands of rows: the same regions, the same drawing, the same polygons, in bounded memory."""

import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from seg.convert import outlines
from seg.predict.annotations import confidences
from tests.convert.conftest import masks
from tests.convert.test_masks import NAMES, scene


def joined(mask: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Number the regions by the rule, pixel by pixel."""
    height, width = mask.shape
    region = np.arange(mask.size).reshape(mask.shape)

    def join(one, other):
        region[region == region[one]] = region[other]

    for y in range(height):
        for x in range(width):
            for below in ((y, x + 1), (y + 1, x)):
                if below[0] < height and below[1] < width and mask[below] == mask[y, x]:
                    join((y, x), below)
            if y + 1 < height and x + 1 < width:
                a, b, c, d = mask[y, x], mask[y, x + 1], mask[y + 1, x], mask[y + 1, x + 1]
                if a == d and (b != c or rank[a] > rank[b]):
                    join((y, x), (y + 1, x + 1))
                if b == c and (a != d or rank[b] > rank[a]):
                    join((y, x + 1), (y + 1, x))
    return region


@settings(max_examples=100, deadline=None)
@given(masks(), st.booleans(), st.integers(1, 40))
def test_regions_are_those_that_joining_pixel_by_pixel_gives(mask, crossing, at_once):
    counts = np.bincount(mask.ravel(), minlength=256)
    rank = np.zeros(256, int)
    if crossing:
        rank[np.argsort(-counts, kind="stable")] = range(256)
        rank[0] = -1
    expected = joined(mask, rank)
    with patch.object(outlines, "_AT_ONCE", at_once):
        count, regions = outlines._regions(mask, 0, crossing)
    assert sorted(np.unique(regions)) == list(range(1, count + 1))
    pairs = {(int(one), int(other)) for one, other in zip(expected.ravel(), regions.ravel(), strict=True)}
    assert len(pairs) == count == len(np.unique(expected))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_polygons_drawn_by_bands_are_those_that_pillow_draws_at_once(data):
    corner = st.tuples(st.floats(0, 30), st.floats(0, 24))
    polygons = [
        np.array(points) for points in data.draw(st.lists(st.lists(corner, min_size=3, max_size=9), max_size=5))
    ]
    whole = Image.new("I", (29, 23))
    for number, points in enumerate(polygons, 1):
        ImageDraw.Draw(whole).polygon([tuple(point) for point in points.tolist()], fill=number, outline=number)
    with patch.object(outlines, "_AT_ONCE", data.draw(st.integers(1, 300))):
        bands = list(outlines.drawn((23, 29), polygons))
    assert [rows.start for rows, _ in bands] == [0, *(rows.stop for rows, _ in bands[:-1])]
    np.testing.assert_array_equal(np.concatenate([last for _, last in bands]), np.array(whole))


@pytest.mark.parametrize("tolerance", [0, 1, 5])
def test_masks_by_bands_become_the_same_polygons(tolerance):
    for seed in range(3):
        mask = scene(seed)
        whole = outlines.mask_to_shapes(mask, NAMES, tolerance)
        with patch.object(outlines, "_AT_ONCE", 1000):
            assert outlines.mask_to_shapes(mask, NAMES, tolerance) == whole


def test_memory_is_bounded_by_a_few_bytes_a_pixel():
    """Beside the mask: the number of each pixel's region, of two bytes, and what the largest of them fills."""

    def peak(function, *arguments):
        tracemalloc.start()
        function(*arguments)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    found = []
    for side in (400, 1600):
        mask = np.zeros((side, side), np.uint8)
        mask[side // 8 : -side // 8, side // 9 : -side // 9] = 1
        mask[side // 3 : -side // 3, side // 3 : -side // 3] = 2
        with patch.object(outlines, "_AT_ONCE", 1 << 13):
            shapes = outlines.mask_to_shapes(mask, NAMES)
            found.append((peak(outlines.mask_to_shapes, mask, NAMES), peak(confidences, shapes, mask)))
    growth = [(large - small) / (1600**2 - 400**2) for small, large in zip(*found, strict=True)]
    assert growth[0] < 5, growth
    assert growth[1] < 0.1, growth
