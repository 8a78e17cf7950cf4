import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from seg.convert.palette import voc_colors
from seg.data import VOC
from tests.data.conftest import labels, picture

THREE = ["a", "b", "c"]
LISTS = "ImageSets/Segmentation"


def test_the_official_classes_and_colours():
    data = VOC()
    assert data.num_classes == 21
    assert data.class_names[0] == "background"
    assert data.class_names[15] == "person"
    assert data.class_names[20] == "tvmonitor"
    assert data.class_colors == [list(color) for color in voc_colors(21)]
    assert data.class_colors[15] == [192, 128, 128]


def test_lists_with_crlf_blanks_and_a_byte_order_mark_are_read(voc_root):
    path = voc_root / LISTS / "train.txt"
    names = path.read_text().split()
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(f" {name}  " for name in names).encode() + b"\r\n\r\n  \r\n")
    assert [pair.id for pair in VOC(str(voc_root), THREE).pairs("train")] == names


def test_images_may_have_any_suffix_and_masks_too(voc_root):
    names = (voc_root / LISTS / "train.txt").read_text().split()
    for name, suffix in zip(names, [".png", ".JPG", ".jpeg", ".tif", ".bmp", ".webp"], strict=False):
        path = voc_root / "JPEGImages" / f"{name}.jpg"
        image = Image.open(path).copy()
        path.unlink()
        image.save(path.with_suffix(suffix))
    data = VOC(str(voc_root), THREE, num_workers=0, crop=(20, 20))
    data.setup("fit")
    assert [pair.id for pair in data.datasets["train"].pairs] == names
    assert sum(len(batch["id"]) for batch in data.train_dataloader()) == 8


def test_images_without_masks_are_named_and_left_out(voc_root, caplog):
    (voc_root / "SegmentationClass" / "train_003.png").unlink()
    with caplog.at_level(logging.WARNING):
        pairs = VOC(str(voc_root), THREE).pairs("train")
    assert len(pairs) == 9
    assert "1 images have no mask" in caplog.text
    assert "train_003" in caplog.text


def test_without_any_mask_the_split_is_empty_which_is_an_error(voc_root):
    for path in (voc_root / "SegmentationClass").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"the train split .* is empty"):
        VOC(str(voc_root), THREE).setup("fit")


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass"])
def test_a_missing_folder_names_its_setting(voc_root, folder):
    shutil.rmtree(voc_root / folder)
    setting = "image_dir" if folder == "JPEGImages" else "mask_dir"
    with pytest.raises(FileNotFoundError, match=rf"(?s){setting}: there is no folder .*{folder}.*Expected"):
        VOC(str(voc_root), THREE).setup("fit")


def test_a_missing_list_says_what_is_expected(voc_root):
    (voc_root / LISTS / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)no list .*val\.txt.*ImageSets/Segmentation/train\.txt"):
        VOC(str(voc_root), THREE).setup("fit")


def test_a_tree_with_other_names_and_values_0_and_255_is_read(tmp_path):
    for folder in ("Images", "Labels", "lists"):
        (tmp_path / folder).mkdir()
    for name in "ab":
        Image.fromarray(picture(0, 30, 40)).convert("L").save(tmp_path / "Images" / f"{name}.png")
        mask = np.where(labels(1, 30, 40, 2) == 1, 255, 0).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / "Labels" / f"{name}.png")
    (tmp_path / "lists" / "all.txt").write_text("a\nb\n")
    data = VOC(
        str(tmp_path),
        ["membrane", "cell"],
        image_dir="Images",
        mask_dir="Labels",
        split_dir="lists",
        train_split="all",
        val_split="all",
        label_map={255: 1},
        num_workers=0,
    )
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    np.testing.assert_array_equal(batch["mask"][0].numpy(), mask // 255)
    assert batch["image"].shape == (2, 3, 30, 40)


def test_a_test_list_counts_where_it_has_masks(voc_root):
    data = VOC(str(voc_root), THREE)
    assert data.test_split_name == "val"
    (voc_root / LISTS / "test.txt").write_text("unlabelled\n")
    assert VOC(str(voc_root), THREE).test_split_name == "val"
    (voc_root / LISTS / "test.txt").write_text("unlabelled\nval_010\n")
    data = VOC(str(voc_root), THREE, num_workers=0)
    assert data.test_split_name == "test"
    data.setup("test")
    assert [batch["id"] for batch in data.test_dataloader()] == [["val_010"]]
