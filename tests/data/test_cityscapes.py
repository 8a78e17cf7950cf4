"""Cityscapes as a data module: sources, classes, splits, and the command that trains on it."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seg.convert.cityscapes import convert, read_polygons
from seg.convert.cityscapes_labels import LABELS
from seg.data import Cityscapes
from tests.cityscapes_tree import FRAMES, box, write_tree
from tests.command import SMALL, run

TRAINED = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CATEGORIES = {
    "flat": [7, 8],
    "construction": [11, 12, 13],
    "object": [17, 19, 20],
    "nature": [21, 22],
    "sky": [23],
    "human": [24, 25],
    "vehicle": [26, 27, 28, 31, 32, 33],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "cityscapes")


def masks(root: Path, stage: str = "validate", **settings: object) -> dict[str, np.ndarray]:
    """Return name -> mask of what the validation loader gives."""
    data = Cityscapes(str(root), num_workers=0, **settings)
    data.setup(stage)
    return {
        name: mask.numpy()
        for batch in data.val_dataloader()
        for name, mask in zip(batch["id"], batch["mask"], strict=True)
    }


def truth(root: Path, meaning: dict[int, int], split: str = "val") -> dict[str, np.ndarray]:
    """Return name -> mask, its ids given their meaning one at a time."""
    found = {}
    for path in (root / "gtFine" / split).rglob("*_polygons.json"):
        ids = read_polygons(path, "labelIds")
        mask = np.full_like(ids, 255)
        for value, label in meaning.items():
            mask[ids == value] = label
        found[path.name.removesuffix("_gtFine_polygons.json")] = mask
    return found


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


MEANINGS = {
    "train": {value: label for label, value in enumerate(TRAINED.values())},
    "categories": {value: label for label, values in enumerate(CATEGORIES.values()) for value in values},
    "all": {value: value for value in range(34)},
}


@pytest.mark.parametrize(
    ("classes", "source"),
    [
        *(("train", source) for source in ("labelTrainIds", "labelIds", "polygons")),
        *(("categories", source) for source in ("labelTrainIds", "labelIds", "polygons")),
        ("all", "labelIds"),
        ("all", "polygons"),
    ],
)
def test_every_source_gives_the_classes_their_numbers_and_ignores_the_same_pixels(root, classes, source):
    if source != "polygons":
        convert(root, source, root, workers=1)
    assert_same(masks(root, classes=classes, source=source), truth(root, MEANINGS[classes]))


def test_names_and_colours_are_the_official_ones():
    data = Cityscapes()
    assert data.class_names == list(TRAINED)
    assert data.class_colors[0] == [128, 64, 128]
    assert data.class_colors[18] == [119, 11, 32]
    assert data.crop == (512, 1024)
    categories = Cityscapes(classes="categories")
    assert categories.class_names == list(CATEGORIES)
    assert categories.class_colors[6] == [0, 0, 142]
    every = Cityscapes(classes="all")
    assert every.class_names == [label.name for label in LABELS[:34]]
    assert every.class_colors[33] == [119, 11, 32]


def test_auto_takes_train_ids_then_ids_then_polygons_and_says_which(root, caplog):
    for kind, expected in ((None, "polygons"), ("labelIds", "labelIds"), ("labelTrainIds", "labelTrainIds")):
        if kind:
            convert(root, kind, root, workers=1)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = masks(root)
        assert f"masks are read from {expected}" in caplog.text
        assert_same(found, truth(root, MEANINGS["train"]))
    assert_same(masks(root, classes="all"), truth(root, MEANINGS["all"]))


def test_auto_does_not_take_masks_that_only_some_frames_have(root, caplog):
    convert(root, "labelTrainIds", root, workers=1)
    next((root / "gtFine/train").rglob("*_labelTrainIds.png")).unlink()
    with caplog.at_level(logging.WARNING):
        masks(root, "fit")
    assert "read from polygons" in caplog.text


def test_all_classes_cannot_come_from_train_ids():
    with pytest.raises(ValueError, match="labelTrainIds masks do not tell all classes apart"):
        Cityscapes(classes="all", source="labelTrainIds")


def test_a_folder_of_colour_masks_alone_is_refused_with_the_cure(root):
    for path in (root / "gtFine").rglob("*_polygons.json"):
        Image.new("RGBA", (60, 40)).save(str(path).replace("polygons.json", "color.png"))
        path.unlink()
    with pytest.raises(ValueError, match=r"_color masks alone.*Unpack the _labelIds\.png or _polygons\.json"):
        masks(root)


def test_a_colour_picture_under_the_name_of_a_mask_is_refused(root):
    convert(root, "labelIds", root, workers=1)
    path = next((root / "gtFine/val").rglob("*_labelIds.png"))
    Image.new("RGBA", (60, 40)).save(path)
    with pytest.raises(ValueError, match=f"{path.name} is a colour picture"):
        masks(root, source="labelIds")


def test_ids_read_as_train_ids_are_refused_by_file(root):
    convert(root, "labelIds", root, workers=1)
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        path.rename(str(path).replace("labelIds", "labelTrainIds"))
    with pytest.raises(ValueError, match=r"labelTrainIds\.png holds label 23"):
        masks(root)


def test_an_annotation_of_another_size_than_its_image_is_refused(root):
    path = next((root / "gtFine/val").rglob("*_polygons.json"))
    path.write_text(json.dumps({"imgHeight": 41, "imgWidth": 60, "objects": [box("car", 0, 0, 5, 5)]}))
    with pytest.raises(ValueError, match=f"40×60 .*{path.name} is 41×60"):
        masks(root)


@pytest.mark.parametrize("what", ["leftImg8bit", "gtFine"])
def test_a_missing_file_is_named_with_the_expected_tree(root, what):
    path = next((root / what / "train").rglob("*_0*"))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"(?s)1 files of the train split .*{path.name}.*gtFine_trainvaltest"):
        masks(root, "fit")


def test_missing_folders_are_answered_with_the_expected_tree(root, tmp_path):
    shutil.rmtree(root / "gtFine/val")
    with pytest.raises(FileNotFoundError, match=r"(?s)no folder .*gtFine/val.*gtFine_trainvaltest"):
        masks(root)
    with pytest.raises(FileNotFoundError, match=r"(?s)no folder .*nowhere.*leftImg8bit/train"):
        masks(tmp_path / "nowhere")


def test_test_reads_val_and_says_so_because_the_official_test_annotations_are_dummies(root, caplog):
    data = Cityscapes(str(root), num_workers=0)
    with caplog.at_level(logging.WARNING):
        data.setup("test")
    assert "test reads val" in caplog.text
    assert [name for batch in data.test_dataloader() for name in batch["id"]] == FRAMES["val"]


def test_coarse_trains_on_train_and_train_extra_and_validates_on_fine_where_that_is_there(root):
    write_tree(root, fine="gtCoarse")
    extra = "nuremberg_000000_000019"
    for source, target in (("leftImg8bit", "leftImg8bit.png"), ("gtCoarse", "gtCoarse_polygons.json")):
        (root / source / "train_extra/nuremberg").mkdir(parents=True)
        old = next((root / source / "train/jena").glob("jena_000000_*"))
        shutil.copy(old, root / source / "train_extra/nuremberg" / f"{extra}_{target}")
    data = Cityscapes(str(root), annotations="coarse")
    assert [pair.id for pair in data.pairs("train")] == [*FRAMES["train"], extra]
    assert all("gtCoarse" in pair.mask for pair in data.pairs("train"))
    assert all("gtFine" in pair.mask for pair in data.pairs("val"))
    shutil.rmtree(root / "gtFine")
    data = Cityscapes(str(root), annotations="coarse")
    data.setup("fit")
    assert all("gtCoarse/val" in pair.mask for pair in data.pairs("val"))


def test_the_command_trains_on_polygons_with_workers_and_weights_and_tests(workplace, root, capsys):
    init = {"root": str(root), "batch_size": 2, "crop": [32, 48], "num_workers": 1, "cache": "ram"}
    model = {
        **SMALL["model"],
        "loss": {"class_path": "seg.losses.CrossEntropy", "init_args": {"class_weights": "auto"}},
    }
    config = {"model": model, "data": {"class_path": "seg.data.Cityscapes", "init_args": init}}
    Path("tiny.yaml").write_text(yaml.safe_dump({**config, "trainer": {**SMALL["trainer"], "max_epochs": 1}}))
    run("--config", "tiny.yaml")
    out = capsys.readouterr().out
    assert "Cityscapes, 19 classes" in out
    assert "(on the val split)" in out
    assert Path("runs/tiny/version_0/checkpoints/best.ckpt").is_file()
