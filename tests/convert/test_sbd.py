"""SBD's .mat files beside Pascal VOC's masks, and the list of both."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix

from seg.convert.palette import voc_colors, write_indexed
from seg.convert.sbd import read_mat, trainaug
from seg.data import VOC

LISTS = "ImageSets/Segmentation"


def write_mat(path: Path, mask: np.ndarray, *, compressed: bool = False) -> None:
    """Write a mask as SBD has it: a structure with boundaries, the labels, and the classes present."""
    boundaries = np.empty((20, 1), dtype=object)
    for index in range(20):
        boundaries[index, 0] = csc_matrix(mask.shape, dtype=np.float64)
    present = np.unique(mask[mask > 0]).reshape(-1, 1)
    structure = {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": present}
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"GTcls": structure}, do_compression=compressed)


def mask_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 21, (30, 40)).astype(np.uint8)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Path, Path]:
    """Write SBD with a1..a4 and VOC with a2 (train), a3 and v1 (val), v2 (train); a2 and a3 are in both."""
    sbd, voc = tmp_path / "benchmark_RELEASE", tmp_path / "VOC2012"
    for index in range(1, 5):
        write_mat(sbd / "dataset" / "cls" / f"a{index}.mat", mask_of(index), compressed=index % 2 == 0)
    (sbd / "dataset" / "train.txt").write_text("a1\na2\n")
    (sbd / "dataset" / "val.txt").write_text("a3\na4\n")
    for index, name in enumerate(["a2", "a3", "v1", "v2"], 10):
        write_indexed(voc / "SegmentationClass" / f"{name}.png", mask_of(index), voc_colors(21))
    (voc / LISTS).mkdir(parents=True)
    (voc / LISTS / "train.txt").write_text("a2\nv2\n")
    (voc / LISTS / "val.txt").write_text("a3\nv1\n")
    (voc / "JPEGImages").mkdir()
    for name in ("a1", "a2", "a3", "a4", "v1", "v2"):
        Image.new("RGB", (40, 30)).save(voc / "JPEGImages" / f"{name}.jpg")
    return sbd, voc


@pytest.mark.parametrize("place", ["", "dataset"])
def test_masks_and_list_are_made_and_a_data_module_trains_on_them(both, convert, place):
    sbd, voc = both
    assert convert("sbd", sbd / place, "--out", voc) == (0, "6 masks written\n")
    for name, seed in {"a1": 1, "a4": 4, "a2": 10, "a3": 11, "v1": 12, "v2": 13}.items():  # VOC's own win
        image = Image.open(voc / "SegmentationClassAug" / f"{name}.png")
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), mask_of(seed))
    assert (voc / LISTS / "trainaug.txt").read_text() == "a1\na2\na4\nv2\n"

    data = VOC(str(voc), train_split="trainaug", mask_dir="SegmentationClassAug", num_workers=0)
    data.setup("fit")
    assert [pair.id for pair in data.datasets["train"].pairs] == ["a1", "a2", "a4", "v2"]
    np.testing.assert_array_equal(data.datasets["train"].read(0)[1], mask_of(1))

    assert convert("sbd", sbd, "--out", voc) == (0, "0 masks written, 6 found done\n")


def test_the_full_lists_must_make_up_10582_images(tmp_path):
    lengths = {"SBD train": (0, 8498), "SBD val": (8498, 11355), "VOC val": (10455, 11904)}
    lists = {what: tmp_path / f"{what}.txt" for what in [*lengths, "VOC train"]}
    for what, (start, end) in lengths.items():
        lists[what].write_text("\n".join(f"{number:06}" for number in range(start, end)))
    # 900 of VOC's val are in SBD, 1337 of its train too: 11355 − 900 + 127 = 10582
    lists["VOC train"].write_text("\n".join(f"{number:06}" for number in [*range(1337), *range(20000, 20127)]))
    names = trainaug(lists)
    assert len(names) == 10582
    assert names == sorted(set(names))

    lists["VOC train"].write_text("\n".join(f"{number:06}" for number in [*range(1336), *range(20000, 20128)]))
    with pytest.raises(ValueError, match="make up 10583 images, not 10582"):
        trainaug(lists)


def test_an_image_of_the_list_without_any_mask_fails_the_run(both, convert):
    sbd, voc = both
    (sbd / "dataset" / "cls" / "a4.mat").unlink()
    status, text = convert("sbd", sbd, "--out", voc)
    assert status == 1
    assert "1 of its 4 images have no mask in either data set: a4" in text


def test_a_mask_of_another_size_than_its_image_is_refused(both, convert):
    sbd, voc = both
    Image.new("RGB", (30, 40)).save(voc / "JPEGImages" / "a1.jpg")
    status, text = convert("sbd", sbd, "--out", voc)
    assert status == 1
    assert "a1.mat is 30×40 but" in text
    assert not (voc / "SegmentationClassAug" / "a1.png").exists()


@pytest.mark.parametrize("missing", ["dataset/cls", "dataset/val.txt", "SegmentationClass", f"{LISTS}/val.txt"])
def test_whatever_is_missing_is_named(both, convert, missing):
    sbd, voc = both
    path = sbd / missing if missing.startswith("dataset") else voc / missing
    path.rename(path.with_name("elsewhere"))
    status, text = convert("sbd", sbd, "--out", voc)
    assert status == 2
    assert path.name in text


def test_older_and_flatter_structures_are_read(tmp_path):
    mask = mask_of(0)
    savemat(tmp_path / "flat.mat", {"GTcls": {"Segmentation": mask.astype(np.float64).astype(np.int16)}})
    np.testing.assert_array_equal(read_mat(tmp_path / "flat.mat"), mask)
    structure = np.zeros((1, 1), dtype=[("Segmentation", object)])
    structure[0, 0]["Segmentation"] = mask
    savemat(tmp_path / "old.mat", {"GTcls": structure}, format="5")
    np.testing.assert_array_equal(read_mat(tmp_path / "old.mat"), mask)


def test_no_damage_to_a_file_makes_more_than_an_error_that_names_it(tmp_path):
    rng = np.random.default_rng(0)
    write_mat(tmp_path / "whole.mat", mask_of(0), compressed=True)
    data = (tmp_path / "whole.mat").read_bytes()
    path = tmp_path / "damaged.mat"
    for case in range(120):
        damaged = bytearray(data[: rng.integers(len(data))] if case % 2 else data)
        for place in rng.integers(0, max(len(damaged), 1), 8 * (case % 2 == 0)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        said = path.name
        try:
            read_mat(path)
        except ValueError as error:
            said = str(error)
        assert path.name in said


@pytest.mark.parametrize("mask", [np.full((3, 3), 21, np.uint8), np.zeros((2, 2, 2), np.uint8), np.full((3, 3), 0.5)])
def test_what_are_no_labels_is_refused(tmp_path, mask):
    savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": mask}})
    with pytest.raises(ValueError, match=r"a\.mat"):
        read_mat(tmp_path / "a.mat")
