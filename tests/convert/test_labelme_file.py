"""Reading JSON: what is odd is read, what is broken is named, and nothing that hypothesis thinks of crashes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seg.convert.labelme_file import KINDS, NotLabelme, read_annotation
from seg.convert.labelme_shapes import Drawing, draw_shapes
from seg.convert.labelme_sources import read_sources
from tests.convert.labelme_files import png, shape, square, write_image, write_json


def test_old_files_without_version_size_and_shape_type_are_read(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"shapes": [{"label": "a", "points": square(1, 2, 3)}], "imagePath": "x.png"}))
    annotation = read_annotation(path)
    assert annotation.size is None
    assert annotation.shapes == [("a", "polygon", [1, 2, 4, 2, 4, 5, 1, 5], None, None)]


@pytest.mark.parametrize(("label", "read"), [(3, "3"), (3.0, "3"), ("3", "3"), ("  big\u00a0 cat\n", "big cat")])
def test_labels_are_text_whatever_they_are_written_as(tmp_path, label, read):
    assert read_annotation(write_json(tmp_path / "x.json", [shape(label, square(1, 1, 5))])).shapes[0].label == read


def test_a_byte_order_mark_does_not_matter_and_another_encoding_is_named(tmp_path):
    path = write_json(tmp_path / "x.json", [shape("é", square(1, 1, 5))])
    text = path.read_text(encoding="utf-8")
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_annotation(path).shapes[0].label == "é"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"x\.json: not UTF-8"):
        read_annotation(path)


@pytest.mark.parametrize("text", ["[1]", "3", '{"images": [], "annotations": []}', "null"])
def test_json_of_another_kind_is_told_from_a_broken_annotation(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(NotLabelme):
        read_annotation(tmp_path / "x.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"shapes": [',
        "[" * 100000,
        '{"shapes": {}}',
        '{"imagePath": "a.png"}',
        '{"shapes": [' + "9" * 5000 + "]}",
        "\0",
    ],
)
def test_damaged_files_are_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]*x\.json: (not JSON|`shapes` is not a list|shape 1)") as error:
        read_annotation(tmp_path / "x.json")
    assert not isinstance(error.value, NotLabelme)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (7, "is not an object"),
        (shape(None, square(1, 1, 5)), "has no label"),
        (shape(" ", square(1, 1, 5)), "has no label"),
        (shape(True, square(1, 1, 5)), "has no label"),
        (shape("\ud800", square(1, 1, 5)), "has no label"),
        (shape("a", square(1, 1, 5), "blob"), "shape_type 'blob' is not known"),
        (shape("a", square(1, 1, 5), ["polygon"]), "is not known"),
        (shape("a", [[1, 1], [2, 2]]), "has 2 points, but needs at least 3"),
        (shape("a", [[1, 1]], "rectangle"), "has 1 points, but needs 2 or 4"),
        (shape("a", square(1, 1, 5), "circle"), "has 4 points, but needs 2"),
        (shape("a", [], "linestrip"), "has 0 points, but needs at least 2"),
        (shape("a", [[1, float("nan")], [1, 2], [3, 4]]), "points are not"),
        (shape("a", [[1, float("inf")], [1, 2], [3, 4]]), "points are not"),
        (shape("a", [[1, 10**400], [1, 2], [3, 4]]), "points are not"),
        (shape("a", [["1", "2"], [1, 2], [3, 4]]), "points are not"),
        (shape("a", [[1, None], [1, 2], [3, 4]]), "points are not"),
        (shape("a", [[1, True], [1, 2], [3, 4]]), "points are not"),
        (shape("a", [[1, 2, 3], [1, 2, 3], [3, 4, 5]]), "points are not"),
        (shape("a", [1, 2, 3, 4]), "points are not"),
        (shape("a", "abc"), "points are not"),
        (shape("a", None), "points are not"),
        (shape("a", [[1, 1], [5, 5]], "mask"), "holds no picture"),
    ],
)
def test_a_broken_shape_is_named_by_file_and_number(tmp_path, entry, message):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"shapes": [shape("b", square(1, 1, 5)), entry], "imagePath": "x.png"}))
    with pytest.raises(ValueError, match=rf"x\.json: shape 2.*{message}"):
        read_annotation(path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("../../x.png"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
shapes = st.fixed_dictionaries(
    {},
    optional={
        "label": values | st.just("a"),
        "points": values | st.lists(st.lists(st.floats() | st.integers(-50, 100), min_size=2, max_size=2), max_size=6),
        "shape_type": values | st.sampled_from(sorted(KINDS)),
        "group_id": values,
        "mask": values | st.just(png(np.ones((4, 4), bool))),
    },
)
files = st.fixed_dictionaries(
    {"shapes": st.lists(shapes, max_size=4) | values},
    optional={
        "imagePath": values | st.just("x.png"),
        "imageData": values | st.just(png(np.ones((40, 60), np.uint8))),
        "imageHeight": values | st.just(40),
        "imageWidth": values | st.just(60),
        "version": values,
    },
)


def outcome(root: Path) -> None:
    """Read and draw whatever lies in the folder: a mask of the image's size, or a ValueError that names the file."""
    sources = read_sources(root)
    for reason in [*sources.bad.values(), *sources.skipped.values()]:
        assert reason
    labels = {entry.label for source in sources.good for entry in source.annotation.shapes}
    drawn = sources.drawn(dict.fromkeys(labels, 1), Drawing())
    for source in drawn.good:
        if source.annotation.size is not None:
            draw_shapes(source.annotation.shapes, source.annotation.size, dict.fromkeys(labels, 1), Drawing(), "x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    write_image(root / "x.png")
    return root


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=files)
def test_any_json_gives_a_mask_or_an_error_that_names_the_file(folder, content: Any):
    (folder / "x.json").write_text(json.dumps(content))
    outcome(folder)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3)), min_size=1, max_size=6))
def test_a_good_file_with_bytes_changed_gives_a_mask_or_an_error(folder, changes):
    entries = [shape("a", square(1, 1, 5)), shape("a", [[2, 2], [5, 5]], "mask", mask=png(np.ones((4, 4), bool)))]
    data = bytearray(write_json(folder / "x.json", entries).read_bytes())
    for place, new in changes:
        place %= len(data)
        data[place : place + len(new)] = new
    (folder / "x.json").write_bytes(data)
    outcome(folder)
