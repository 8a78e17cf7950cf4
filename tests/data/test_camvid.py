import numpy as np
import pytest
from PIL import Image

from seg.data import CamVid
from tests.data.conftest import labels, picture


@pytest.fixture
def root(tmp_path):
    for split, count in {"train": 3, "val": 2}.items():
        lines = []
        for folder in (split, f"{split}annot"):
            (tmp_path / folder).mkdir()
        for number in range(count):
            name = f"{split}{number}"
            Image.fromarray(picture(number, 36, 48)).save(tmp_path / split / f"{name}.png")
            mask = labels(number, 36, 48, 11)
            mask[mask == 255] = 11
            Image.fromarray(mask).save(tmp_path / f"{split}annot" / f"{name}.png")
            lines.append(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png")
        (tmp_path / f"{split}.txt").write_text("\r\n".join(lines) + "\r\n\r\n")
    return tmp_path


def test_the_tutorials_classes_in_its_order_and_colours():
    data = CamVid()
    assert data.class_names == [
        *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian"),
        "Bicyclist",
    ]
    assert data.class_colors[0] == [128, 128, 128]
    assert data.class_colors[4] == [60, 40, 222]
    assert data.class_colors[10] == [0, 128, 192]


def test_void_is_ignored_and_absolute_looking_lists_are_followed(root):
    data = CamVid(str(root), num_workers=0)
    data.setup("fit")
    (batch,) = data.val_dataloader()
    assert batch["id"] == ["val0", "val1"]
    for number in range(2):
        np.testing.assert_array_equal(batch["mask"][number].numpy(), labels(number, 36, 48, 11))
        np.testing.assert_array_equal(batch["image"][number].permute(1, 2, 0).numpy(), picture(number, 36, 48))


def test_images_of_another_suffix_than_the_lists_are_found(root):
    for path in (root / "train").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    data = CamVid(str(root), num_workers=0)
    data.setup("fit")
    assert {pair.image[-4:] for pair in data.datasets["train"].pairs} == {".jpg"}
    assert {pair.mask[-4:] for pair in data.datasets["train"].pairs} == {".png"}


@pytest.mark.parametrize("prefix", ["", "./", "/home/me/SegNet/CamVid/", "C:\\SegNet\\CamVid\\"])
def test_paths_are_mapped_by_their_trailing_parts(root, prefix):
    separator = "\\" if "\\" in prefix else "/"
    line = f"{prefix}train{separator}train1.png {prefix}trainannot{separator}train1.png"
    (root / "train.txt").write_text(line)
    (pair,) = CamVid(str(root)).pairs("train")
    assert pair == ("train1", str(root / "train" / "train1.png"), str(root / "trainannot" / "train1.png"))


def test_a_missing_mask_is_named_where_it_was_expected(root):
    (root / "trainannot" / "train1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)1 files of the train split are missing.*trainannot/train1\.png"):
        CamVid(str(root)).setup("fit")


def test_a_line_that_is_no_pair_is_named(root):
    (root / "train.txt").write_text("/SegNet/CamVid/train/train0.png\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 1: expected an image and a mask"):
        CamVid(str(root)).setup("fit")


def test_missing_data_says_which_tree_is_expected_and_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)no folder .*trainannot.*git clone"):
        CamVid(str(tmp_path / "nowhere")).setup("fit")
    with pytest.raises(FileNotFoundError, match=r"(?s)no list .*train\.txt.*trainannot"):
        CamVid(str(tmp_path)).setup("fit")


def test_test_is_validation_until_there_are_test_images(root):
    assert CamVid(str(root)).test_split_name == "val"
    (root / "test.txt").write_text("/SegNet/CamVid/test/a.png /SegNet/CamVid/testannot/a.png")
    assert CamVid(str(root)).test_split_name == "val"
    (root / "test").mkdir()
    assert CamVid(str(root)).test_split_name == "test"


def test_own_classes_replace_the_tutorials(root):
    data = CamVid(str(root), classes=["x"] + [f"c{number}" for number in range(11)], label_map={}, num_workers=0)
    assert data.num_classes == 12
    data.setup("fit")
    (batch,) = data.val_dataloader()
    assert int(batch["mask"].max()) == 11
