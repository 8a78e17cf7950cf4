import logging
import re
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


def test_lists_may_have_suffixes_blanks_in_names_and_a_second_word(voc_root):
    for folder, suffix in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png")):
        path = voc_root / folder / f"train_000{suffix}"
        path.rename(path.with_name(f"my photo{suffix}"))
    (voc_root / LISTS / "train.txt").write_text("my photo\ntrain_001.jpg\ntrain_002 -1\ntrain_003.PNG  1\n")
    pairs = VOC(str(voc_root), THREE).pairs("train")
    assert [pair.id for pair in pairs] == ["my photo", "train_001", "train_002", "train_003"]


def test_a_missing_list_names_those_that_are_there_and_the_cure(voc_root):
    (voc_root / LISTS / "val.txt").rename(voc_root / LISTS / "validation.txt")
    with pytest.raises(FileNotFoundError, match=r"the lists that are there: train, validation \(see val_split\)"):
        VOC(str(voc_root), THREE).pairs("val")
    assert len(VOC(str(voc_root), THREE, val_split="validation").pairs("val")) == 5
    shutil.rmtree(voc_root / "ImageSets")
    with pytest.raises(FileNotFoundError, match=r"there is no list .*train\.txt.*val_fraction: 0\.2 divides"):
        VOC(str(voc_root), THREE).pairs("train")


def test_the_folder_above_a_tree_is_answered_with_the_tree(voc_root):
    with pytest.raises(FileNotFoundError, match=f"such a tree is {re.escape(str(voc_root))}: give it as root"):
        VOC(str(voc_root.parent), THREE).pairs("train")


def test_what_can_be_divided_are_the_listed_files_or_without_lists_all_that_have_a_mask(voc_root, caplog):
    every = sorted(path.stem for path in (voc_root / "JPEGImages").iterdir())
    (voc_root / LISTS / "train.txt").write_text("train_001\nval_010\n")
    assert [pair.id for pair in VOC(str(voc_root), THREE).pool()][:2] == ["train_001", "val_010"]
    assert len(VOC(str(voc_root), THREE).pool()) == 6
    (voc_root / LISTS / "train.txt").unlink()
    (voc_root / LISTS / "val.txt").rename(voc_root / LISTS / "test.txt")
    (voc_root / "SegmentationClass" / "train_003.png").unlink()
    with caplog.at_level(logging.WARNING):
        pool = VOC(str(voc_root), THREE).pool()
    assert [pair.id for pair in pool] == [name for name in every if name.startswith("train") and name != "train_003"]
    assert "1 images have no mask" in caplog.text


@pytest.mark.parametrize(
    ("values", "label_map", "warned"),
    [((0, 255), None, True), ((0, 255), {255: 1}, False), ((0, 1, 255), None, False), ((0,), None, False)],
)
def test_masks_of_0_and_255_alone_are_noticed(voc_root, caplog, values, label_map, warned):
    for path in (voc_root / "SegmentationClass").iterdir():
        mask = np.array(values, np.uint8)[np.array(Image.open(path)) % len(values)]
        Image.fromarray(mask).save(path)
    with caplog.at_level(logging.WARNING):
        VOC(str(voc_root), THREE, label_map=label_map, num_workers=0).setup("fit")
    assert ("say label_map: {255: 1}" in caplog.text) == warned


def test_grey_and_colour_jpegs_and_grey_masks_mix(voc_root):
    for index, path in enumerate(sorted((voc_root / "JPEGImages").iterdir())):
        if index % 2:
            Image.open(path).convert("L").save(path)
    for index, path in enumerate(sorted((voc_root / "SegmentationClass").iterdir())):
        if index % 3:
            Image.fromarray(np.array(Image.open(path))).save(path)
    data = VOC(str(voc_root), THREE, num_workers=0, crop=(20, 20), batch_size=5)
    data.setup("fit")
    assert all(batch["image"].shape == (5, 3, 20, 20) for batch in data.train_dataloader())
    for index in range(5):
        image, mask = data.datasets["val"].read(index)
        np.testing.assert_array_equal(mask, labels(10 + index, *mask.shape, 3))
        assert image.shape == (*mask.shape, 3)
