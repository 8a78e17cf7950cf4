"""Drawing: pixel for pixel what labelme's own algorithm gives, and holes, orders and bad shapes beside it."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.convert.labelme_file import Shape, read_annotation
from seg.convert.labelme_shapes import Drawing, check_order, checked_drawing, draw_shapes
from seg.data.images import Size
from tests.convert.labelme_files import official_mask, png, shape, square, write_json

SIZE = (40, 60)
VALUES = {"a": 1, "b": 2, "c": 3, "__ignore__": 255}


def drawn(tmp_path: Path, shapes: list, drawing: Drawing | None = None, size: tuple[int, int] = SIZE) -> np.ndarray:
    annotation = read_annotation(write_json(tmp_path / "x.json", shapes, size))
    return draw_shapes(annotation.shapes, Size(*size), VALUES, drawing or Drawing(), annotation.path)


def test_every_shape_type_is_drawn_as_labelme_draws_it(tmp_path):
    blob = np.random.default_rng(0).random((9, 12)) < 0.5
    shapes = [
        shape("a", [[3.5, 2.2], [30.7, 8.1], [14.4, 33.9]]),
        shape("b", [[50, 38], [31.6, 20.5]], "rectangle"),
        shape("c", [[10, 25], [14, 22], [20, 30], [16, 33]], "oriented_rectangle"),
        shape("a", [[45.5, 12.5], [50, 17]], "circle"),
        shape("__ignore__", [[2, 2], [55, 30]], "line"),
        shape("b", [[5, 35.5], [20, 20], [58, 39]], "linestrip"),
        shape("c", [[52, 5]], "point"),
        shape("a", [[25.9, 14.2], [36.9, 22.2]], "mask", mask=png(blob)),
        shape("b", [[1, 1], [8, 1], [8, 9]], None),
    ]
    expected = official_mask(SIZE, shapes, {**VALUES, "__ignore__": -1})
    np.testing.assert_array_equal(drawn(tmp_path, shapes), expected)
    assert set(np.unique(expected)) == {0, 1, 2, 3, 255}


coordinate = st.one_of(st.floats(-15, 75), st.integers(-15, 75))
point = st.tuples(coordinate, coordinate).map(list)
anything = st.one_of(
    st.builds(shape, st.sampled_from("abc"), st.lists(point, min_size=3, max_size=12), st.just("polygon")),
    st.builds(
        shape, st.sampled_from("abc"), st.lists(point, min_size=2, max_size=2), st.sampled_from(["line", "circle"])
    ),
    st.builds(shape, st.sampled_from("abc"), st.lists(point, min_size=2, max_size=2), st.just("rectangle")),
    st.builds(shape, st.sampled_from("abc"), st.lists(point, min_size=2, max_size=5), st.just("linestrip")),
    st.builds(shape, st.sampled_from("abc"), st.lists(point, min_size=1, max_size=1), st.just("point")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(anything, max_size=6), st.integers(1, 12), st.integers(0, 8))
def test_any_shapes_are_drawn_as_labelme_draws_them(tmp_path_factory, shapes, width, radius):
    drawing = Drawing(line_width=width, point_radius=radius)
    mask = drawn(tmp_path_factory.getbasetemp(), shapes, drawing)
    np.testing.assert_array_equal(mask, official_mask(SIZE, shapes, VALUES, width, radius))


def test_points_and_four_cornered_rectangles_of_other_tools_are_drawn(tmp_path):
    many = drawn(tmp_path, [shape("a", [[10, 10], [40, 20]], "points")])
    single = [shape("a", [[10, 10]], "point"), shape("a", [[40, 20]], "point")]
    np.testing.assert_array_equal(many, official_mask(SIZE, single, VALUES))
    corners = drawn(tmp_path, [shape("a", square(5, 5, 10), "rectangle")])
    np.testing.assert_array_equal(corners, official_mask(SIZE, [shape("a", [[5, 5], [15, 15]], "rectangle")], VALUES))


def test_smaller_shapes_come_on_top_where_asked(tmp_path):
    shapes = [shape("a", [[20, 20]], "point"), shape("b", [[20, 20], [20, 8]], "circle"), shape("c", square(2, 2, 35))]
    assert set(np.unique(drawn(tmp_path, shapes))) == {0, 3}
    mask = drawn(tmp_path, shapes, Drawing(order="smaller_on_top"))
    assert (mask[20, 20], mask[20, 10], mask[4, 4]) == (1, 2, 3)


def test_classes_are_drawn_over_those_named_before_them(tmp_path):
    shapes = [shape(label, square(5, 5, 20)) for label in "abc"]
    assert drawn(tmp_path, shapes, Drawing(order=["c", "a", "b"]))[10, 10] == 2
    assert drawn(tmp_path, shapes, Drawing(order=["b"]))[10, 10] == 2, "what is not named lies lowest"


def test_a_hole_shows_what_lies_beneath_its_own_shape_alone(tmp_path):
    hole = [shape("b", square(10, 5, 30)), shape("a", square(12, 8, 24)), shape("hole", square(18, 14, 8))]
    mask = drawn(tmp_path, hole, Drawing(hole_label="hole"))
    expected = official_mask(SIZE, hole[:2], VALUES)
    inside = official_mask(SIZE, [shape("a", square(18, 14, 8))], VALUES) == 1
    expected[inside] = 2
    np.testing.assert_array_equal(mask, expected)


def test_holes_at_the_end_of_a_file_find_the_shape_around_them(tmp_path):
    rings = [shape("a", square(2, 2, 20)), shape("b", square(30, 2, 20))]
    holes = [shape("hole", square(8, 8, 6)), shape("hole", square(36, 8, 6))]
    mask = drawn(tmp_path, rings + holes, Drawing(hole_label="hole", order="smaller_on_top"))
    assert [mask[10, 10], mask[10, 40], mask[4, 4], mask[4, 32]] == [0, 0, 1, 2]
    assert drawn(tmp_path, [*rings, shape("hole", square(55, 30, 3))], Drawing(hole_label="hole")).max() == 2


def test_a_hole_of_a_group_belongs_to_the_shapes_of_that_group(tmp_path):
    shapes = [
        shape("a", square(2, 2, 30), group_id=7),
        shape("hole", square(10, 10, 8), group_id=7),
        shape("b", square(5, 5, 20)),
    ]
    mask = drawn(tmp_path, shapes[::-1], Drawing(hole_label="hole"))
    assert mask[12, 12] == 2
    assert mask[28, 28] == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape("a", square(1e9, 5, 10)), "lies far outside"),
        (shape("a", [[10, 10], [1e300, 10]], "circle"), "lies far outside"),
        (shape("a", [[0, 0], [9, 9]], "mask", mask=png(np.ones((5, 5), bool))), "5×5, but its box 10×10"),
        (shape("a", [[0, 0], [4, 4]], "mask", mask=png(np.ones((5, 5, 3), np.uint8))), "colour picture"),
        (shape("a", [[0, 0], [4, 4]], "mask", mask=png(np.ones((5, 5), bool))[:60]), "damaged|not an image"),
        (shape("a", [[0, 0], [4, 4]], "mask", mask="?!*"), "damaged"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_named_with_file_number_and_label(tmp_path, bad, message):
    with pytest.raises(ValueError, match=rf"x\.json: shape 2 \(a.*({message})"):
        drawn(tmp_path, [shape("b", square(1, 1, 5)), bad])


@pytest.mark.slow
def test_a_million_corners_are_drawn(tmp_path):
    turn = [2 * math.pi * index / 10**6 for index in range(10**6)]
    ring = [[500 + 400 * math.cos(angle), 500 + 400 * math.sin(angle)] for angle in turn]
    mask = drawn(tmp_path, [shape("a", ring)], size=(1000, 1000))
    assert abs((mask == 1).sum() / (math.pi * 400**2) - 1) < 0.01


@pytest.mark.parametrize("kind", ["polygon", "linestrip"])
def test_an_outline_that_pillow_would_take_minutes_over_is_refused(kind):
    points = (np.random.default_rng(0).random(10**6) * 1000).tolist()
    with pytest.raises(ValueError, match=r"x\.json: shape 1 \(a\) crosses each line of its image \d+ times"):
        draw_shapes([Shape("a", kind, points)], Size(1000, 1000), VALUES, Drawing(), "x.json")


@pytest.mark.parametrize(
    ("setting", "value"), [("line_width", 0), ("line_width", 10**9), ("point_radius", -1), ("point_radius", math.nan)]
)
def test_widths_that_cannot_be_are_refused(setting, value):
    with pytest.raises(ValueError, match=setting):
        checked_drawing(**{"line_width": 10, "point_radius": 5, "hole_label": None, "order": "file", setting: value})


def test_an_order_of_what_is_no_class_is_refused():
    with pytest.raises(ValueError, match="order: smaler_on_top is no class"):
        check_order(checked_drawing(10, 5, None, "smaler_on_top"), VALUES)
