"""Masks to labelme's polygons and, redrawn as labelme draws, to masks again."""

import json
import os
from graphlib import CycleError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from seg.convert import outlines
from seg.convert.masks import mask_to_shapes
from seg.convert.palette import voc_colors, write_indexed
from tests.convert.conftest import masks

NAMES = ["_background_", "one", "two"]
VALUES = {"_background_": 0, "one": 1, "two": 2, "__ignore__": 255}


def redrawn(shapes: list[dict], size: tuple[int, int], values: dict[str, int] = VALUES) -> np.ndarray:
    """Draw as labelme's own converter does: shape after shape, Pillow's polygon with outline and fill."""
    image = Image.new("L", (size[1], size[0]))
    for shape in shapes:
        assert shape["shape_type"] == "polygon"
        assert len(shape["points"]) > 2
        value = values[shape["label"]]
        ImageDraw.Draw(image).polygon([tuple(point) for point in shape["points"]], outline=value, fill=value)
    return np.array(image)


def ious(one: np.ndarray, other: np.ndarray) -> dict[int, float]:
    return {
        int(value): np.sum((one == value) & (other == value)) / np.sum((one == value) | (other == value))
        for value in np.unique(one)
    }


def scene(seed: int, height: int = 160, width: int = 200) -> np.ndarray:
    """Draw ellipses over each other, with borders of 255 and holes of background."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (width, height))
    for _ in range(9):
        x, y = rng.integers(0, width), rng.integers(0, height)
        a, b = rng.integers(3, 50, 2)
        value = int(rng.choice([0, 1, 2]))
        ImageDraw.Draw(image).ellipse(
            (x - a, y - b, x + a, y + b), fill=value, outline=255, width=int(rng.integers(1, 5))
        )
    return np.array(image)


@settings(max_examples=200, deadline=None)
@given(masks())
def test_without_tolerance_every_pixel_comes_back(mask):
    np.testing.assert_array_equal(redrawn(mask_to_shapes(mask, NAMES, 0), mask.shape), mask)


@settings(max_examples=60, deadline=None)
@given(masks(values=(0, 1, 2)))
def test_without_a_background_every_region_is_outlined(mask):
    shapes = mask_to_shapes(mask, ["zero", "one", "two"], 0)
    assert {shape["label"] for shape in shapes} == {["zero", "one", "two"][value] for value in np.unique(mask)}
    again = redrawn(shapes, mask.shape, {"zero": 7, "one": 1, "two": 2})
    np.testing.assert_array_equal(np.where(again == 7, 0, again), mask)


@settings(max_examples=60, deadline=None)
@given(masks(), st.floats(0.1, 20))
def test_whatever_the_tolerance_every_class_keeps_99_hundredths(mask, tolerance):
    assert min(ious(mask, redrawn(mask_to_shapes(mask, NAMES, tolerance), mask.shape)).values()) >= 0.99


@pytest.mark.parametrize("seed", range(3))
def test_tolerance_saves_points_of_large_outlines(seed):
    mask = np.array(Image.fromarray(scene(seed)).resize((800, 640), Image.Resampling.NEAREST))
    exact, loose = mask_to_shapes(mask, NAMES, 0), mask_to_shapes(mask, NAMES, 3)
    points = [sum(len(shape["points"]) for shape in shapes) for shapes in (exact, loose)]
    assert points[1] < 0.8 * points[0]
    assert min(ious(mask, redrawn(loose, mask.shape)).values()) >= 0.99


def test_a_hole_is_a_background_polygon_after_the_object_around_it():
    mask = np.zeros((9, 9), np.uint8)
    mask[1:8, 1:8] = 1
    mask[3:6, 3:6] = 0
    shapes = mask_to_shapes(mask, NAMES, 0)
    assert [shape["label"] for shape in shapes] == ["one", "_background_"]
    assert shapes[0]["points"] == [[1.5, 1.5], [1.5, 7.5], [7.5, 7.5], [7.5, 1.5]]


def test_a_diagonal_line_is_one_shape_even_across_another():
    line = np.eye(6, dtype=np.uint8)
    assert len(mask_to_shapes(line, NAMES, 0)) == 1
    crossing = np.array([[1, 2, 0], [2, 1, 0], [0, 0, 1]], np.uint8)  # the rarer value stays whole
    shapes = mask_to_shapes(crossing, NAMES, 0)
    assert sorted(shape["label"] for shape in shapes) == ["one", "one", "two"]


def test_a_line_that_runs_from_a_frame_into_what_the_frame_surrounds_is_cut():
    """Frame and line around the inner region, which itself closes around the line: each would hide the other."""
    mask = np.full((9, 9), 2, np.uint8)
    mask[[0, -1]] = mask[:, [0, -1]] = 1
    mask[[1, 2, 3], [1, 2, 3]] = 1
    with pytest.raises(CycleError):
        outlines._trace(mask, 0, crossing=True)
    np.testing.assert_array_equal(redrawn(mask_to_shapes(mask, NAMES, 0), mask.shape), mask)


def test_a_value_without_a_name_and_a_tolerance_below_zero_are_refused():
    with pytest.raises(ValueError, match=r"value 7 has no name: 3 classes are named, 0\.\.2"):
        mask_to_shapes(np.full((2, 2), 7, np.uint8), NAMES)
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tolerance"):
            mask_to_shapes(np.zeros((2, 2), np.uint8), NAMES, tolerance)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Write masks in a nested tree, and images in another."""
    for index, place in enumerate(["a", "sub/b", "sub/deep/ç d"]):
        mask = scene(index, 60, 80)
        write_indexed(tmp_path / "masks" / f"{place}.png", mask, voc_colors(3))
        (tmp_path / "photos" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60)).save(tmp_path / "photos" / f"{place}.jpg")
    (tmp_path / "labels.txt").write_bytes("\ufeff__ignore__\r\n_background_\r\none\r\n\r\n two \r\n".encode())
    return tmp_path


def test_the_command_writes_json_that_points_to_the_image_and_redraws(tree, convert):
    out = tree / "out"
    words = ("masks", tree / "masks", "--out", out, "--labels", tree / "labels.txt", "--images", tree / "photos")
    assert convert(*words) == (0, "3 labelme files written\n")
    for place in ("a", "sub/b", "sub/deep/ç d"):
        path = out / f"{place}.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        assert os.path.samefile(path.parent / document["imagePath"], tree / "photos" / f"{place}.jpg")
        assert (document["imageHeight"], document["imageWidth"], document["imageData"]) == (60, 80, None)
        mask = np.array(Image.open(tree / "masks" / f"{place}.png"))
        assert min(ious(mask, redrawn(document["shapes"], (60, 80))).values()) >= 0.99
    assert (out / "labels.txt").read_text() == "__ignore__\n_background_\none\ntwo\n"

    first = (out / "a.json").read_bytes()
    assert convert(*words) == (0, "0 labelme files written, 3 found done\n")
    assert convert(*words, "--overwrite")[0] == 0
    assert (out / "a.json").read_bytes() == first
    assert "3 labelme files written" in convert(*words, "--tolerance", "0")[1]
    shapes = json.loads((out / "a.json").read_text())["shapes"]
    np.testing.assert_array_equal(redrawn(shapes, (60, 80)), np.array(Image.open(tree / "masks" / "a.png")))


def test_masks_without_an_image_or_of_another_size_are_told(tree, convert):
    (tree / "photos" / "a.jpg").unlink()
    Image.new("RGB", (60, 80)).save(tree / "photos" / "sub" / "b.jpg")
    status, text = convert("masks", tree / "masks", "--out", tree / "out", "--images", tree / "photos")
    assert status == 1
    assert text.startswith("1 labelme files written, 1 left out, 1 failed")
    assert "masks/a.png: there is no image of its name" in text
    assert "the mask is 60×80 (height × width) but its image" in text


def test_the_size_of_an_image_that_lies_on_its_side_is_the_one_shown(tree, convert):
    image = Image.new("RGB", (60, 80))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tree / "photos" / "a.jpg", exif=exif)
    assert convert("masks", tree / "masks", "--out", tree / "out", "--images", tree / "photos")[0] == 0


def test_without_labels_classes_go_by_their_value(tree, convert):
    assert convert("masks", tree / "masks", "--out", tree / "out")[0] == 0
    document = json.loads((tree / "out" / "a.json").read_text())
    assert {shape["label"] for shape in document["shapes"]} <= {"_background_", "1", "2", "__ignore__"}
    assert document["imagePath"] == "a.jpg"


def test_the_json_may_lie_beside_the_masks(tree, convert):
    assert convert("masks", tree / "masks", "--out", tree / "masks")[1] == "3 labelme files written\n"
    assert (tree / "masks" / "sub" / "b.json").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--labels", "none.txt"), "none.txt"),
        (("--labels", "twice.txt"), "names one twice"),
        (("--labels", "empty.txt"), "holds 0 class names"),
        (("--labels", "latin.txt"), "not a text in UTF-8"),
        (("--tolerance", "-2"), "tolerance: -2.0 must be a number of pixels"),
        (("--images", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_settings_that_cannot_be_are_errors_before_anything_is_written(tree, convert, monkeypatch, words, text):
    monkeypatch.chdir(tree)
    Path("twice.txt").write_text("one\none\n")
    Path("empty.txt").write_text("__ignore__\n")
    Path("latin.txt").write_bytes("stra\xdfe".encode("latin-1"))
    status, printed = convert("masks", "masks", "--out", "out", *words)
    assert status == 2
    assert text in printed
    assert not Path("out").exists()


def test_files_that_are_no_masks_are_named_and_the_others_written(tree, convert):
    (tree / "masks" / "broken.png").write_bytes((tree / "masks" / "a.png").read_bytes()[:80])
    Image.new("RGB", (3, 3)).save(tree / "masks" / "colour.png")
    status, text = convert("masks", tree / "masks", "--out", tree / "out")
    assert status == 1
    assert text.startswith("3 labelme files written, 2 failed")
    assert "broken.png" in text
    assert "colour.png is a colour picture" in text


def test_folders_linked_in_a_circle_are_walked_once(tree, convert):
    (tree / "masks" / "sub" / "up").symlink_to(tree / "masks", target_is_directory=True)
    (tree / "masks" / "again").symlink_to(tree / "masks" / "sub", target_is_directory=True)
    assert convert("masks", tree / "masks", "--out", tree / "out")[1] == "3 labelme files written\n"


REAL = Path(os.environ.get("SEG_SHARED_DATA", "/nowhere"))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="SEG_SHARED_DATA names no folder with real masks")
@pytest.mark.parametrize("folder", ["VOCdevkit/VOC2012/SegmentationClass", "CamVid/trainannot", "labelme/plants"])
@pytest.mark.parametrize("tolerance", [0, 1, 3])
def test_real_masks_come_back(folder, tolerance):
    names = ["background", *map(str, range(1, 22))]
    values = {name: value for value, name in enumerate(["_background_", *names[1:]])} | {"__ignore__": 255}
    for path in sorted((REAL / folder).glob("*.png"))[:60]:
        mask = np.array(Image.open(path))
        again = redrawn(mask_to_shapes(mask, names, tolerance), mask.shape, values)
        assert min(ious(mask, again).values()) >= (0.99 if tolerance else 1), path
