"""Folders of any naming, and tables of pairs."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg.convert.palette import voc_colors, write_indexed
from seg.data import Folder
from tests.data.conftest import labels, picture

THREE = ["a", "b", "c"]


def write(root: Path, images: list[str], masks: list[str]) -> Path:
    """Write images and masks of 30×40 at these places; the number in a name decides what is in them."""
    for place in images:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number(place), 30, 40)).save(root / place)
    for place in masks:
        write_indexed(root / place, labels(number(place), 30, 40, 3), voc_colors(3))
    return root


def number(place: str | Path) -> int:
    return int("".join(filter(str.isdigit, Path(place).name)))


def ids(data: Folder, split: str = "train") -> list[str]:
    return [pair.id for pair in data.pairs(split)]


@pytest.mark.parametrize(
    ("image", "mask", "dirs", "patterns"),
    [
        ("{s}/images/{n}.jpg", "{s}/masks/{n}.png", ("{split}/images", "{split}/masks"), ("*", "*")),
        ("images/{s}/{n}.png", "masks/{s}/{n}.png", ("images/{split}", "masks/{split}"), ("*", "*")),
        ("{s}/{n}.jpg", "{s}/{n}_mask.png", ("{split}", "{split}"), ("*", "*_mask")),
        ("{s}/{n}.JPG", "{s}/{n}.png", ("{split}", "{split}"), ("*.jpg", "*.png")),
        ("{s}/im_{n}.tif", "all/m-{n}_gt.PNG", ("{split}", "all"), ("im_*", "m-*_gt.png")),
        ("{s}/city/x{n}/{n}.jpg", "gt/{s}/city/x{n}/{n}.png", ("{split}", "gt/{split}"), ("*", "*")),
        ("{s}/{n}.jpg", "{s}/gt/{n}.png", ("{split}", "{split}/gt"), ("*", "*")),
    ],
)
def test_images_and_masks_of_any_naming_find_each_other(tmp_path, image, mask, dirs, patterns):
    settings = dict(zip(("image_dir", "mask_dir", "image_pattern", "mask_pattern"), (*dirs, *patterns), strict=True))
    for split, numbers in {"train": (1, 2, 3), "val": (4, 5)}.items():
        for n in numbers:
            write(tmp_path, [image.format(s=split, n=n)], [mask.format(s=split, n=n)])
    data = Folder(str(tmp_path), THREE, num_workers=0, crop=(16, 16), **settings)
    data.setup("fit")
    assert data.test_split_name == "val"
    for split, numbers in {"train": (1, 2, 3), "val": (4, 5)}.items():
        found = data.datasets[split]
        assert [number(pair.image) for pair in found.pairs] == list(numbers)
        for index, n in enumerate(numbers):
            np.testing.assert_array_equal(found.read(index)[1], labels(n, 30, 40, 3))


def test_a_test_folder_is_tested(tmp_path):
    for split in ("train", "val", "test"):
        write(tmp_path, [f"{split}/images/1.jpg"], [f"{split}/masks/1.png"])
    data = Folder(str(tmp_path), THREE, image_dir="{split}/images", mask_dir="{split}/masks", num_workers=0)
    data.setup("test")
    assert data.test_split_name == "test"


def test_what_does_not_match_is_listed_with_what_is_there_and_the_nearest(tmp_path):
    write(
        tmp_path, ["train/images/scene_1.jpg", "train/images/2.jpg"], ["train/masks/scene_1_m.png", "train/masks/2.png"]
    )
    settings = {"image_dir": "{split}/images", "mask_dir": "{split}/masks", "num_workers": 0}
    with pytest.raises(ValueError, match=r"1 of 2 images in .*images have no mask in .*masks") as caught:
        Folder(str(tmp_path), THREE, **settings).pairs("train")
    message = str(caught.value)
    assert "scene_1.jpg: looked for a mask 'scene_1'; nearest is scene_1_m.png" in message
    assert "Masks there: 2.png, scene_1_m.png" in message
    assert "mask_pattern" in message
    assert ids(Folder(str(tmp_path), THREE, unmatched="skip", **settings)) == ["2"]
    with pytest.raises(ValueError, match=r"Files there, none of the pattern of masks: 2\.png, scene_1_m\.png"):
        Folder(str(tmp_path), THREE, mask_pattern="gt_*", **settings).pairs("train")


def test_left_out_images_and_masks_to_spare_are_told(tmp_path, caplog):
    write(tmp_path, ["train/i/1.jpg", "train/i/2.jpg"], ["train/m/1.png", "train/m/3.png"])
    data = Folder(str(tmp_path), THREE, image_dir="{split}/i", mask_dir="{split}/m", unmatched="skip")
    with caplog.at_level(logging.WARNING):
        assert ids(data) == ["1"]
    assert "1 images have no mask and are left out: 2" in caplog.text
    assert "1 masks have no image: 3" in caplog.text


def test_one_folder_in_which_nothing_tells_images_from_masks_is_an_error(tmp_path):
    write(tmp_path, ["train/1.jpg"], ["train/1.png"])
    with pytest.raises(ValueError, match=r"1\.jpg and .*1\.png are both mask '1'.*mask_pattern: '\*\.jpg'"):
        Folder(str(tmp_path), THREE, image_dir="{split}", mask_dir="{split}").pairs("train")
    (tmp_path / "train/1.png").unlink()
    with pytest.raises(ValueError, match="are one folder"):
        Folder(str(tmp_path), THREE, image_dir="{split}", mask_dir="{split}").pairs("train")


@pytest.mark.parametrize("pattern", ["mask", "*_*", "sub/*", ""])
def test_a_pattern_has_one_star_and_no_folder(tmp_path, pattern):
    write(tmp_path, ["train/1.jpg"], ["m/1.png"])
    with pytest.raises(ValueError, match=r"mask_pattern: .* must hold one"):
        Folder(str(tmp_path), THREE, image_dir="{split}", mask_dir="m", mask_pattern=pattern).pairs("train")


def test_without_splits_everything_is_a_pool_and_the_error_says_how_to_divide_it(tmp_path):
    write(tmp_path, [f"images/{n}.jpg" for n in range(4)], [f"masks/{n}.png" for n in range(4)])
    data = Folder(str(tmp_path), THREE)
    assert [pair.id for pair in data.pool()] == ["0", "1", "2", "3"]
    assert not data.has_test()
    with pytest.raises(ValueError, match=r"nothing tells which files .* val_fraction: 0\.2"):
        data.pairs("train")


def test_folders_linked_in_a_circle_are_walked_once(tmp_path):
    write(tmp_path, ["train/a/1.jpg"], ["m/a/1.png"])
    (tmp_path / "train/a/up").symlink_to(tmp_path / "train", target_is_directory=True)
    (tmp_path / "train/b").symlink_to(tmp_path / "train/a", target_is_directory=True)
    assert ids(Folder(str(tmp_path), THREE, image_dir="{split}", mask_dir="m")) == ["a/1"]


@pytest.mark.parametrize(
    "text",
    [
        "image,mask,split\nx/1.jpg,y/7.png,train\nx/2.jpg,y/8.png,train\nx/3.jpg,y/9.png,val\n",
        "\ufeffSplit;Mask ;;Image\r\ntrain;y\\7.png;;x\\1.jpg\r\n\ntrain; y/8.png;;x/2.jpg\r\nval;y/9.png;;x/3.jpg\r\n",
        'image\tmask\tsplit\nx/1.jpg\t"y/7.png"\ttrain\nx/2.jpg\ty/8.png\ttrain\nx/3.jpg\ty/9.png\tval\n',
    ],
)  # fmt: skip
def test_a_table_of_pairs_is_read_whatever_its_separator(tmp_path, text):
    write(tmp_path, [f"x/{n}.jpg" for n in (1, 2, 3)], [f"y/{n}.png" for n in (7, 8, 9)])
    (tmp_path / "pairs.csv").write_bytes(text.encode())
    data = Folder(str(tmp_path), THREE, table="pairs.csv", num_workers=0, crop=(16, 16))
    data.setup("fit")
    assert ids(data) == ["x/1", "x/2"]
    assert ids(data, "val") == ["x/3"]
    np.testing.assert_array_equal(data.datasets["train"].read(1)[1], labels(8, 30, 40, 3))
    assert data.test_split_name == "val"


def test_groups_of_a_table_stay_in_one_split(tmp_path):
    (tmp_path / "t.csv").write_text(
        "image,mask,split,group\n1.jpg,1.png,train,g\n2.jpg,2.png,train,g\n3.jpg,3.png,val,h\n"
    )
    data = Folder(str(tmp_path), THREE, table="t.csv")
    assert data.groups == {"1": "g", "2": "g", "3": "h"}
    assert [pair.id for pair in data.pool()] == ["1", "2", "3"]
    (tmp_path / "t.csv").write_text("image,mask,split,group\n1.jpg,1.png,train,g\n2.jpg,2.png,val,g\n")
    with pytest.raises(ValueError, match=r"t\.csv, line 3: group 'g' is in the splits train and val"):
        Folder(str(tmp_path), THREE, table="t.csv").pairs("train")


def test_a_division_keeps_the_groups_of_a_table_together(tmp_path):
    names = [f"{scene}{3 * index + n}" for index, scene in enumerate("abcd") for n in range(3)]
    write(tmp_path, [f"x/{name}.jpg" for name in names], [f"y/{name}.png" for name in names])
    rows = [f"x/{name}.jpg,y/{name}.png,{name[0]}" for name in names]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,mask,group", *rows]))
    data = Folder(str(tmp_path), THREE, table="pairs.csv", val_fraction=0.25, num_workers=0, crop=(16, 16))
    data.setup("fit")
    train, val = ({pair.id.rpartition("/")[2][0] for pair in data.datasets[split].pairs} for split in ("train", "val"))
    assert len(val) == 1
    assert train | val == set("abcd")
    assert not train & val


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lacks the column image and mask.*found: nothing"),
        (b"picture,mask\na,b\n", "lacks the column image: .*found: picture, mask"),
        (b"image,mask\na.jpg\n", "line 2: nothing stands under mask"),
        (b"image,mask,split\na.jpg,b.png,\n", "line 2: nothing stands under split"),
        (b"image,mask\na.jpg,b.png\na.jpg,c.png\n", r"line 3: the image a\.jpg stands in line 2 already"),
        (b"image,mask\n\xff,\xfe\n", "no CSV file in UTF-8"),
        (b'image,mask\n"a,b\n', "no CSV file in UTF-8"),
        (b"image,mask\na\0.jpg,b.png\n", "zero byte|no CSV file"),
        (b"image,mask\na.jpg,b.png\n", "no row of the split train; it has no column split"),
        (b"image,mask,split\na.jpg,b.png,training\n", "no row of the split train; it has training"),
    ],
)
def test_a_table_that_cannot_be_names_file_and_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"t\.csv.*{message}"):
        Folder(str(tmp_path), THREE, table="t.csv").pairs("train")


def test_missing_folders_tables_and_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"table: there is no file .*t\.csv"):
        Folder(str(tmp_path), THREE, table="t.csv").pairs("train")
    with pytest.raises(FileNotFoundError, match=r"mask_dir: there is no folder .*m"):
        Folder(str(tmp_path), THREE, image_dir="{split}", mask_dir="m").pairs("train")
    (tmp_path / "t.csv").write_text("image,mask,split\n../../etc/1.jpg,1.png,train\n")
    with pytest.raises(FileNotFoundError, match=r"(?s)2 files of the train split are missing.*etc/1\.jpg"):
        Folder(str(tmp_path), THREE, table="t.csv").setup("fit")
