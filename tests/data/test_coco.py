"""COCO's instances as a data module."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seg.colors import safe_colors
from seg.data import COCO
from tests.data.conftest import picture

pytest.importorskip("pycocotools")

CATEGORIES = [{"id": 9, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 30, "name": "car"}]


def box(x: int, y: int, width: int, height: int) -> list[float]:
    """Return a polygon that covers just these pixels."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def write(root: Path, split: str, number: int, categories: Any = CATEGORIES) -> None:
    """Write a split: images of 40×50, each with a large cat and a small car upon it; the last has nothing."""
    images, annotations = [], []
    (root / f"{split}2017").mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    for index in range(number):
        Image.fromarray(picture(index, 40, 50)).save(root / f"{split}2017" / f"{index:03}.jpg")
        images.append({"id": 100 + index, "file_name": f"{index:03}.jpg", "height": 40, "width": 50})
        if index < number - 1:
            for category, polygon in ((30, box(10, 8, 5, 6)), (9, box(5, 5, 30, 20 + index))):
                shape = {"category_id": category, "segmentation": [polygon], "iscrowd": 0}
                annotations.append({"id": len(annotations), "image_id": 100 + index, **shape})
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(document))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "train", 5)
    write(tmp_path, "val", 3)
    return tmp_path


def expected(index: int, cat: int = 2, car: int = 3) -> np.ndarray:
    mask = np.zeros((40, 50), np.uint8)
    mask[5 : 25 + index, 5:35] = cat
    mask[8:14, 10:15] = car
    return mask


def test_classes_come_from_the_file_and_masks_are_drawn(root):
    data = COCO(str(root), crop=(32, 32), batch_size=2, num_workers=0)
    assert data.class_names == ["background", "dog", "cat", "car"]
    assert data.class_colors == [list(color) for color in safe_colors(4)]
    data.setup("fit")
    assert [pair.id for pair in data.datasets["train"].pairs] == ["000", "001", "002", "003", "004"]
    for index in range(2):
        image, mask = data.datasets["val"].read(index)
        np.testing.assert_array_equal(mask, expected(index))
        assert image.shape == (40, 50, 3)
    assert not data.datasets["val"].read(2)[1].any()
    assert data.test_split_name == "val"
    pixels, _ = data.pixel_counts()
    assert pixels[1:] == [0, sum(30 * (20 + index) - 30 for index in range(4)), 4 * 30]


def test_workers_draw_the_same_and_a_disk_cache_is_made_anew_for_other_classes(root):
    def masks(**settings: Any) -> np.ndarray:
        data = COCO(str(root), crop=(32, 32), **settings)
        data.setup("validate")
        return np.concatenate([batch["mask"].numpy() for batch in data.val_dataloader()])

    plain = masks(num_workers=0)
    np.testing.assert_array_equal(masks(num_workers=2, multiprocessing_context="spawn"), plain)
    np.testing.assert_array_equal(masks(num_workers=0, cache="disk"), plain)
    merged = masks(num_workers=0, cache="disk", classes=["dog", "beast", "car"], merge={"beast": ["cat"]})
    np.testing.assert_array_equal(merged, plain)
    swapped = masks(num_workers=0, cache="disk", classes=["car", "cat", "dog"])
    np.testing.assert_array_equal(swapped[0], expected(0, cat=2, car=1))


def test_classes_can_be_chosen_and_merged(root):
    data = COCO(str(root), classes=["animal"], merge={"animal": ["cat", "dog"]}, others="ignore", num_workers=0)
    data.setup("validate")
    assert data.class_names == ["background", "animal"]
    np.testing.assert_array_equal(data.datasets["val"].read(0)[1], expected(0, cat=1, car=255))


def test_crowds_are_ignored(root):
    path = root / "annotations/instances_val2017.json"
    document = json.loads(path.read_text())
    document["annotations"][1].update(iscrowd=1)
    path.write_text(json.dumps(document))
    data = COCO(str(root), num_workers=0)
    data.setup("validate")
    np.testing.assert_array_equal(data.datasets["val"].read(0)[1], expected(0, cat=255))


def test_a_test_split_is_read_where_it_is_named(root):
    write(root, "test", 2)
    data = COCO(str(root), test_annotations="annotations/instances_test2017.json", num_workers=0)
    data.setup("test")
    assert data.test_split_name == "test"
    assert len(data.datasets["test"]) == 2


def test_a_size_that_disagrees_with_the_image_names_both(root):
    Image.new("RGB", (40, 50)).save(root / "val2017/000.jpg")
    data = COCO(str(root), num_workers=0)
    data.setup("validate")
    with pytest.raises(ValueError, match=r"instances_val2017\.json: image .*000\.jpg is 50×40 .* annotated as 40×50"):
        data.datasets["val"].read(0)


def test_what_is_missing_or_contradicts_is_named(root):
    with pytest.raises(FileNotFoundError, match=r"(?s)train_annotations: there is no file .*none\.json.*Expected"):
        COCO(str(root), train_annotations="none.json")
    with pytest.raises(ValueError, match="there is no category 'cot', did you mean cat"):
        COCO(str(root), classes=["cot"]).setup("fit")
    (root / "val2017/001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)1 files of the val split are missing.*001\.jpg"):
        COCO(str(root)).setup("validate")


def test_categories_that_only_validation_has_are_refused(root, tmp_path):
    other = tmp_path / "other"
    write(other, "train", 2)
    write(other, "val", 2, [*CATEGORIES, {"id": 31, "name": "truck"}])
    with pytest.raises(ValueError, match=r"has categories that .* has not: truck"):
        COCO(str(other)).setup("validate")
    COCO(str(other), classes=["dog", "cat", "car"]).setup("validate")
