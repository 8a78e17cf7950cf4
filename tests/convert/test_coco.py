"""COCO's instances to masks: polygons, run lengths, crowds, overlaps, and everything that can be wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seg.convert.coco_drawing import draw
from seg.convert.coco_file import Frame, category_values, class_names, read_instances
from seg.data import VOC
from tests.convert.conftest import masks

pytest.importorskip("pycocotools")

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}, {"id": 90, "name": "car"}]
VALUES = {3: 1, 7: 2, 90: 3}


def box(x: int, y: int, width: int, height: int) -> list[float]:
    """Return a polygon that covers just these pixels."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def lengths(mask: np.ndarray) -> list[int]:
    """Return COCO's run lengths of a mask, down the columns, zeros first, by the loop that needs no thought."""
    runs, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def frame(*annotations: tuple[int, Any], crowd: bool = False) -> Frame:
    listed = [[number, category, crowd, segmentation] for number, (category, segmentation) in enumerate(annotations)]
    return Frame("a.jpg", None, None, json.dumps(listed).encode())


@settings(max_examples=60, deadline=None)
@given(masks(values=(0, 1)), st.booleans())
def test_run_lengths_come_back_as_the_mask_compressed_or_not(mask, compressed):
    from pycocotools.mask import encode

    counts = encode(np.asfortranarray(mask))["counts"].decode() if compressed else lengths(mask)
    segmentation = {"size": list(mask.shape), "counts": counts}
    np.testing.assert_array_equal(draw(frame((7, segmentation)), *mask.shape, VALUES), mask * 2)


def test_smaller_objects_lie_on_top_whatever_their_order_or_the_area_they_claim():
    small, middle, large = box(4, 3, 2, 2), box(3, 2, 6, 5), box(0, 0, 12, 9)
    expected = np.ones((10, 13), np.uint8)
    expected[9:] = expected[:, 12:] = 0
    expected[2:7, 3:9] = 2
    expected[3:5, 4:6] = 3
    parts = [(90, [small]), (7, [middle]), (3, [large])]
    for order in (parts, parts[::-1], [parts[1], parts[2], parts[0]]):
        np.testing.assert_array_equal(draw(frame(*order), 10, 13, VALUES), expected)


def test_an_object_of_several_polygons_is_their_union():
    found = draw(frame((3, [box(0, 0, 2, 2), box(5, 5, 1, 3)])), 9, 9, VALUES)
    expected = np.zeros((9, 9), np.uint8)
    expected[:2, :2] = expected[5:8, 5] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("crowd", "value"), [("ignore", 255), ("object", 2), ("background", 0)])
def test_a_crowd_is_what_is_asked_for_and_never_hides_an_object_unless_it_is_one(crowd, value):
    region = np.zeros((6, 8), np.uint8)
    region[1:4, 1:4] = 1
    listed = [[1, 3, False, [box(0, 0, 6, 5)]], [2, 7, True, {"size": [6, 8], "counts": lengths(region)}]]
    found = draw(Frame("a.jpg", 6, 8, json.dumps(listed).encode()), 6, 8, VALUES, crowd)
    assert found[5, 5] == 0
    assert found[0, 0] == 1
    assert found[2, 2] == (value if crowd == "object" else 1)
    listed[0][3] = [box(0, 5, 8, 1)]
    assert draw(Frame("a.jpg", 6, 8, json.dumps(listed).encode()), 6, 8, VALUES, crowd)[2, 2] == value


def test_polygons_of_fewer_than_three_points_cover_nothing():
    assert not draw(frame((3, [[1, 1, 5, 5], [2, 2]])), 9, 9, VALUES).any()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 5, 1, 5]], "5 coordinates; x and y make an even number"),
        ([[1, 1, 5, 1, float("nan"), 5]], "far outside"),
        ([[1, 1, 5, 1, float("inf"), 5]], "far outside"),
        ([[1, 1, 5, 1, 10**400, 5]], "far outside"),
        ([[1, 1, 5, 1, 1e9, 5]], r"far outside the image of 9×8 \(width × height\)"),
        ([[1, 1, 5, True, 3, 5]], "no flat list of numbers"),
        ([[[1, 1], [5, 1], [3, 5]]], "no flat list of numbers"),
        ([1, 1, 5, 1, 3, 5], "no flat list of numbers"),
        ([], "has no segmentation"),
        (None, "has no segmentation"),
        ("x", "has no segmentation"),
        ({"size": [9, 8], "counts": [72]}, r"run lengths are for size \[9, 8\], the image is \[8, 9\]"),
        ({"size": [8, 9], "counts": [70]}, "damaged"),
        ({"size": [8, 9], "counts": [-1, 73]}, "damaged"),
        ({"size": [8, 9], "counts": [1 << 40]}, "damaged"),
        ({"size": [8, 9], "counts": [1.5]}, "damaged"),
        ({"size": [8, 9], "counts": "P"}, "damaged"),
        ({"size": [8, 9], "counts": "é"}, "damaged"),
        ({"size": [8, 9], "counts": ""}, "damaged"),
        ({"size": [8, 9], "counts": None}, "damaged"),
        ({"counts": [72]}, "run lengths are for size None"),
    ],
)
def test_a_segmentation_that_is_none_names_annotation_and_image(segmentation, message):
    with pytest.raises(ValueError, match=f"annotation 0 of a.jpg: .*{message}"):
        draw(frame((3, segmentation)), 8, 9, VALUES)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=30), st.integers(1, 20), st.integers(1, 20))
def test_no_text_of_run_lengths_crashes_the_decoder(text, height, width):
    counts = "".join(chr(48 + byte % 64) for byte in text)
    said = "damaged"
    try:
        found = draw(frame((3, {"size": [height, width], "counts": counts})), height, width, VALUES)
        assert found.shape == (height, width)
    except ValueError as error:
        said = str(error)
    assert "damaged" in said


def test_classes_come_in_the_order_of_the_ids_merged_or_chosen():
    categories = {0: "_background_", 3: "dog", 7: "cat", 90: "car"}
    names = class_names(categories)
    assert names == ["background", "dog", "cat", "car"]
    assert category_values(categories, names) == {0: 0, 3: 1, 7: 2, 90: 3}

    pets = {"pet": ["cat", "dog"]}
    assert class_names(categories, None, pets) == ["background", "pet", "car"]
    assert class_names(categories, ["background", "car", "pet"], pets) == ["background", "car", "pet"]
    assert category_values(categories, ["background", "car", "pet"], pets) == {0: 0, 3: 2, 7: 2, 90: 1}
    assert category_values(categories, ["background", "car"], None, "ignore") == {0: 0, 3: 255, 7: 255, 90: 1}

    with pytest.raises(ValueError, match="classes: there is no category 'dgo', did you mean dog"):
        class_names(categories, ["dgo"])
    with pytest.raises(ValueError, match="merge: pet takes in 'catt', did you mean cat"):
        class_names(categories, None, {"pet": ["catt"]})
    with pytest.raises(ValueError, match="'cat' is taken in by both pet and car"):
        class_names(categories, None, {"pet": ["cat"], "car": ["cat"]})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write two images in folders, and the instances in them."""
    for place in ("x/one.png", "y/two 2.jpg"):
        (tmp_path / "images" / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 9), (200, 10, 10)).save(tmp_path / "images" / place)
    images = [
        {"id": 5, "file_name": "x\\one.png", "height": 9, "width": 12},
        {"id": 2, "file_name": "y/two 2.jpg", "height": 9, "width": 12},
    ]
    annotations = [
        {"id": 1, "image_id": 5, "category_id": 90, "segmentation": [box(2, 1, 4, 3)], "iscrowd": 0},
        {"id": 2, "image_id": 5, "category_id": 3, "segmentation": [box(0, 0, 8, 8)]},
    ]
    document = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (tmp_path / "instances_val.json").write_text(json.dumps(document))
    return tmp_path


def edited(data: Path, change: Any) -> Path:
    """Change the instances file; return its path."""
    path = data / "instances_val.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_the_command_writes_a_tree_that_the_voc_module_reads(data, convert):
    words = ("coco", data / "instances_val.json", "--images", data / "images", "--out", data / "out")
    assert convert(*words) == (0, "2 images with masks written\n")
    out = data / "out"
    assert (out / "ImageSets/Segmentation/val.txt").read_text() == "one\ntwo_2\n"
    assert (out / "labels.txt").read_text().split() == ["__ignore__", "background", "dog", "cat", "car"]
    assert (out / "JPEGImages/one.png").read_bytes() == (data / "images/x/one.png").read_bytes()
    expected = np.zeros((9, 12), np.uint8)
    expected[:8, :8] = 1
    expected[1:4, 2:6] = 3
    voc = VOC(str(out), ["background", "dog", "cat", "car"], num_workers=0)
    voc.setup("validate")
    np.testing.assert_array_equal(voc.datasets["val"].read(0)[1], expected)
    assert not voc.datasets["val"].read(1)[1].any()
    assert convert(*words) == (0, "0 images with masks written, 2 found done\n")
    assert "2 images" in convert(*words, "--merge", "pet=dog,cat", "--split", "train")[1]
    assert (out / "labels.txt").read_text().split() == ["__ignore__", "background", "pet", "car"]
    assert (out / "ImageSets/Segmentation/train.txt").is_file()
    assert convert(*words, "--classes", "car", "--others", "ignore")[0] == 0
    found = np.array(Image.open(out / "SegmentationClass/one.png"))
    np.testing.assert_array_equal(found, np.select([expected == 1, expected == 3], [255, 1], 0))


def test_missing_images_and_bad_ones_are_told_and_the_others_written(data, convert):
    def change(document):
        document["images"] += [
            {"id": 8, "file_name": "gone.jpg", "height": 9, "width": 12},
            {"id": 9, "file_name": "three.jpg", "height": 12, "width": 9},
        ]
        document["annotations"] += [{"id": 3, "image_id": 2, "category_id": 3, "segmentation": [[1, 2, 3, 4, 5]]}]

    Image.new("RGB", (12, 9)).save(data / "images" / "three.jpg")
    status, text = convert("coco", edited(data, change), "--images", data / "images", "--out", data / "out")
    assert status == 1
    assert text.startswith("1 images with masks written, 1 left out, 2 failed")
    assert "gone.jpg: there is no such image" in text
    assert "three.jpg is 9×12 (height × width, EXIF orientation applied) but is annotated as 12×9" in text
    assert "instances_val.json: annotation 3 of y/two 2.jpg: a polygon has 5 coordinates" in text
    assert (data / "out/ImageSets/Segmentation/val.txt").read_text() == "one\n"
    assert sorted(path.name for path in (data / "out/SegmentationClass").iterdir()) == ["one.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["annotations"][0].update(category_id=4), "annotation 1 is of category 4, which is not among"),
        (lambda d: d["annotations"][0].update(image_id=4), "annotation 1 belongs to image 4, which is not among"),
        (lambda d: d["annotations"][0].update(image_id="5"), 'the image_id of an entry .annotation 1. is "5"'),
        (lambda d: d["annotations"].append(3), "'annotations' is no list of objects"),
        (lambda d: d.pop("categories"), "'categories' is no list of objects"),
        (lambda d: d["images"][0].update(id=2), "there are two images of the id 2"),
        (lambda d: d["images"][0].update(id=[1]), r"the id of an entry \(image\) is \[1\]"),
        (lambda d: d["categories"][0].update(name=None), "category 7 has no name"),
        (lambda d: d["categories"].append({"id": 7, "name": "cow"}), "category 7 has no name, or two"),
        (
            lambda d: d["images"][0].update(file_name="../../one.png"),
            "file_name .* of image 5 is no path below",
        ),
        (lambda d: d["images"][0].update(file_name="..\\one.png"), "is no path below"),
        (lambda d: d["images"][0].update(file_name="/etc/one.png"), "is no path below"),
        (lambda d: d["images"][0].update(file_name="C:\\one.png"), "is no path below"),
        (lambda d: d["images"][0].update(file_name=""), "is no path below"),
        (lambda d: d["images"][0].update(file_name=7), "is no path below"),
        (lambda d: d["images"][0].update(file_name="a\0b"), "is no path below"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_as_a_whole(data, convert, change, message):
    path = edited(data, change)
    with pytest.raises(ValueError, match=rf"instances_val\.json.*{message}"):
        read_instances(path)
    before = sorted(data.rglob("*"))
    assert convert("coco", path, "--images", data / "images", "--out", data / "out")[0] == 2
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"[" * 200000, b"\xff\xfe", b'{"images": {}}'])
def test_what_is_no_instances_file_is_named(tmp_path, content):
    path = tmp_path / "ann.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ann\.json"):
        read_instances(path)
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_instances(tmp_path / "none.json")


def test_images_whose_names_repeat_in_other_folders_keep_their_folders_in_the_name(data, convert):
    def change(document):
        document["images"][1]["file_name"] = "y/one.png"

    (data / "images/y/two 2.jpg").rename(data / "images/y/one.png")
    path = edited(data, change)
    assert convert("coco", path, "--images", data / "images", "--out", data / "out")[0] == 0
    assert (data / "out/ImageSets/Segmentation/val.txt").read_text() == "x__one\ny__one\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "../x"), "this is no name of a list"),
        (("--merge", "pet"), "'pet' is not NEW=A,B"),
        (("--classes", "car", "cat", "car"), "car appears twice"),
    ],
)
def test_options_that_cannot_be_are_errors(data, convert, words, message):
    status, text = convert(
        "coco", data / "instances_val.json", "--images", data / "images", "--out", data / "o", *words
    )
    assert status == 2
    assert message in text
