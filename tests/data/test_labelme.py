"""Training on labelme files directly: the same masks as labelme draws, checked before the first step."""

import json
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from seg.convert.labelme import convert
from seg.data import Labelme
from seg.data.images import read_image, read_mask
from tests.command import run
from tests.convert.labelme_files import official_mask, photo, png, shape, square, write_image, write_json, write_pair

SMALL = {"num_workers": 0, "batch_size": 2, "crop": (32, 32)}
SHAPES = [shape("leaf", square(5, 5, 20)), shape("pot", [[40, 20], [50, 20]], "circle"), shape("stem", square(9, 9, 6))]
VALUES = {"leaf": 1, "pot": 2, "stem": 3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write ten annotated images in two folders."""
    folder = tmp_path / "photos"
    for number in range(10):
        write_pair(folder / "ab"[number % 2] / f"{number}.json", SHAPES[: 1 + number % 3], seed=number)
    return folder


def read(data: Labelme, split: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    dataset = data.datasets[split]
    return {pair.id: dataset.read(index) for index, pair in enumerate(dataset.pairs)}


def test_images_and_masks_are_read_and_every_file_is_in_one_split(root):
    data = Labelme(str(root), **SMALL)
    data.setup("fit")
    assert data.class_names == ["_background_", "leaf", "pot", "stem"]
    samples = read(data, "train") | read(data, "val")
    assert sorted(samples) == sorted(f"{'ab'[number % 2]}/{number}" for number in range(10))
    assert len(data.datasets["val"]) == 2
    for number in range(10):
        image, mask = samples[f"{'ab'[number % 2]}/{number}"]
        np.testing.assert_array_equal(image, photo(40, 60, number))
        np.testing.assert_array_equal(mask, official_mask((40, 60), SHAPES[: 1 + number % 3], VALUES))
    assert sum(len(batch["id"]) for batch in data.train_dataloader()) == 8
    assert data.test_split_name == "val"
    assert data.num_classes == 4


def test_labels_that_differ_in_case_alone_are_told_with_the_aliases_that_join_them(root, caplog):
    write_pair(root / "upper.json", [SHAPES[0] | {"label": "Leaf"}], seed=11)
    Labelme(str(root), **SMALL)
    assert "aliases: {Leaf: leaf}" in caplog.text
    caplog.clear()
    assert Labelme(str(root), aliases={"Leaf": "leaf"}, **SMALL).class_names == ["_background_", "leaf", "pot", "stem"]
    assert not caplog.text


def test_a_root_that_is_a_file_is_refused(root):
    with pytest.raises(FileNotFoundError, match="is a file; give the folder"):
        Labelme(str(root / "a" / "0.json"), **SMALL)


def test_masks_are_those_that_the_conversion_writes(root, tmp_path):
    write_image(root / "turned.jpg", 60, 40, 6)
    write_json(root / "turned.json", SHAPES[:1], (60, 40), imagePath="turned.jpg")
    summary, _ = convert(root, tmp_path / "voc", workers=0)
    data = Labelme(str(root), **SMALL)
    data.setup("fit")
    samples = read(data, "train") | read(data, "val")
    assert len(samples) == len(summary.written) == 11
    for name, (image, mask) in samples.items():
        flat = name.replace("/", "__")
        np.testing.assert_array_equal(read_mask(tmp_path / f"voc/SegmentationClass/{flat}.png"), mask)
        converted = next((tmp_path / "voc/JPEGImages").glob(f"{flat}.*"))
        assert np.abs(read_image(converted).astype(int) - image).mean() < 3


def test_a_fifth_validates_the_same_every_time_unless_asked_otherwise(root):
    def validation(**settings) -> list[str]:
        return [pair.id for pair in Labelme(str(root), **SMALL, **settings).split_pairs("val")]

    files = len(list(root.rglob("*.json")))
    assert len(validation()) == max(1, round(0.2 * files))
    before = validation(val_fraction=0.4)
    assert before == validation(val_fraction=0.4, seed=7)
    assert any(validation(val_fraction=0.4, split_seed=seed) != before for seed in range(1, 4))
    folds = [validation(fold=[k, 3]) for k in (1, 2, 3)]
    assert sorted(name for fold in folds for name in fold) == sorted({name for fold in folds for name in fold})
    assert sum(map(len, folds)) == files
    with pytest.raises(ValueError, match=r"val_fraction: 1\.5 must lie between 0 and 1"):
        validation(val_fraction=1.5)


def test_folders_that_are_nearly_a_split_and_files_beside_one_are_told(root, caplog):
    (root / "a").rename(root / "train")
    (root / "b").rename(root / "Valid")
    data = Labelme(str(root), **SMALL)
    data.setup("fit")
    assert "the folders Valid, train are no split" in caplog.text
    (root / "Valid").rename(root / "val")
    write_pair(root / "beside.json", SHAPES[:1])
    data = Labelme(str(root), **SMALL)
    data.setup("fit")
    assert "1 annotations outside of train, val and test are left out" in caplog.text
    assert sum(len(data.datasets[split]) for split in ("train", "val")) == 10


def test_folders_train_val_and_test_are_the_splits(root):
    for split, number in (("train", 3), ("val", 2), ("test", 1)):
        for index in range(number):
            write_pair(root / split / f"x{index}.json", SHAPES)
    data = Labelme(str(root), **SMALL)
    data.setup("fit")
    assert {split: len(dataset) for split, dataset in data.datasets.items()} == {"train": 3, "val": 2, "test": 1}


def test_found_classes_are_written_down_and_keep_their_ids(root):
    data = Labelme(str(root), **SMALL)
    assert not (root / "labels.found.txt").exists()
    data.prepare_data()
    assert (root / "labels.found.txt").read_text().split() == ["__ignore__", "_background_", "leaf", "pot", "stem"]
    write_pair(root / "new.json", [shape("aphid", square(3, 3, 9))])
    assert Labelme(str(root), **SMALL).class_names == ["_background_", "leaf", "pot", "stem", "aphid"]


def test_labels_txt_of_the_root_a_named_file_and_a_list_give_the_classes(root, tmp_path):
    (root / "labels.txt").write_text("stem\npot\nleaf\n")
    assert Labelme(str(root)).class_names == ["_background_", "stem", "pot", "leaf"]
    (root / "other.txt").write_text("__ignore__\n_background_\nleaf\nstem\npot\n")
    assert Labelme(str(root), labels="other.txt").class_names == ["_background_", "leaf", "stem", "pot"]
    assert Labelme(str(root), classes=["pot", 7]).class_names == ["_background_", "pot", "7"]
    with pytest.raises(ValueError, match="labels and classes"):
        Labelme(str(root), labels="other.txt", classes=["pot"])
    with pytest.raises(FileNotFoundError, match=r"labels: there is no file none\.txt"):
        Labelme(str(root), labels="none.txt")


def test_unknown_labels_stop_the_setup_with_the_list(root):
    with pytest.raises(ValueError, match=r"(?s)'pot': 6 shapes in 6 files .*'stem': 3 shapes in 3 files"):
        Labelme(str(root), classes=["leaf"]).setup("fit")
    data = Labelme(str(root), classes=["leaf"], aliases={"pot": "__ignore__", "stem": "leaf"}, **SMALL)
    data.setup("fit")
    assert set(np.unique([mask for _, mask in (read(data, "train") | read(data, "val")).values()])) == {0, 1, 255}


def test_labels_numbered_by_instance_are_warned_of_where_classes_are_found(root, caplog):
    for number in (1, 2):
        write_pair(root / f"rat{number}.json", [shape(f"rat{number}", square(3, 3, 9))])
    with caplog.at_level(logging.WARNING):
        Labelme(str(root))
    assert "aliases: {rat1: rat, rat2: rat}" in caplog.text
    data = Labelme(str(root), aliases={"rat1": "rat", "rat2": "rat"})
    assert data.class_names == ["_background_", "leaf", "pot", "rat", "stem"]


@pytest.mark.parametrize("classes", [None, ["leaf", "pot", "stem"]])
def test_all_bad_files_are_listed_in_one_error_before_the_first_step_or_left_out(root, caplog, classes):
    (root / "cut.json").write_text('{"shapes": [')
    write_json(root / "alone.json", SHAPES)
    write_pair(root / "far.json", [shape("leaf", square(900, 900, 9))])
    write_pair(root / "pair.json", [shape("leaf", [[1, 1], [2, 2]])])
    write_json(root / "torn.json", SHAPES, imageData=png(photo(40, 60))[:500])
    with pytest.raises(ValueError, match=r"5 annotations in .* cannot be used.*skip_bad: true") as error:
        Labelme(str(root), classes=classes, **SMALL).setup("fit")
    reasons = dict(line.strip().split(".json: ") for line in str(error.value).splitlines()[1:])
    assert [Path(name).name for name in reasons] == ["alone", "cut", "far", "pair", "torn"]
    words = ["there is no image", "not JSON", "lies far outside", "has 2 points", "imageData is"]
    assert all(word in reason for word, reason in zip(words, reasons.values(), strict=True))
    with caplog.at_level(logging.WARNING):
        data = Labelme(str(root), classes=classes, skip_bad=True, **SMALL)
        data.setup("fit")
    assert sum(len(dataset) for dataset in data.datasets.values()) == 10
    assert all(reason in caplog.text for reason in reasons.values())


def test_a_folder_of_bad_files_alone_is_an_error_whatever_is_skipped(tmp_path):
    (tmp_path / "cut.json").write_text('{"shapes": [')
    for settings in ({}, {"classes": ["leaf"]}):
        with pytest.raises(ValueError, match=r"(?s)1 annotations .*cut\.json: not JSON"):
            Labelme(str(tmp_path), skip_bad=True, **settings).setup("fit")


def test_an_embedded_image_is_read_like_any_other(root):
    write_json(root / "inside.json", SHAPES, imagePath="gone.jpg", imageData=png(photo(40, 60, 99)))
    data = Labelme(str(root), **SMALL)
    data.setup("fit")
    image, mask = (read(data, "train") | read(data, "val"))["inside"]
    np.testing.assert_array_equal(image, photo(40, 60, 99))
    np.testing.assert_array_equal(mask, official_mask((40, 60), SHAPES, VALUES))
    again = Labelme(str(root), **SMALL)
    again.setup("fit")
    assert len(again.datasets["train"]) + len(again.datasets["val"]) == 11, "what was taken out is no data of its own"


def test_drawing_settings_reach_the_masks_and_the_cache_is_made_anew_for_others(root):
    for number in range(10):
        write_pair(root / "ab"[number % 2] / f"{number}.json", [shape("leaf", [[5, 5], [50, 30]], "line")], seed=number)
    for width in (10, 3, 10):
        data = Labelme(str(root), classes=["leaf"], line_width=width, cache="disk", **SMALL)
        data.setup("fit")
        expected = official_mask((40, 60), [shape("leaf", [[5, 5], [50, 30]], "line")], {"leaf": 1}, width=width)
        for _, mask in (read(data, "train") | read(data, "val")).values():
            np.testing.assert_array_equal(mask, expected)
    one = Labelme(str(root), classes=["leaf"]).reader().settings()
    others = [
        Labelme(str(root), classes=["leaf", "pot"]),
        Labelme(str(root), classes=["leaf"], aliases={"x": "leaf"}),
        Labelme(str(root), classes=["leaf"], point_radius=2),
        Labelme(str(root), classes=["leaf"], hole_label="hole"),
        Labelme(str(root), classes=["leaf"], order=["leaf"]),
    ]
    assert all(other.reader().settings() != one for other in others)
    assert pickle.loads(pickle.dumps(others[0].reader())).settings() == others[0].reader().settings()


def test_pixels_are_counted_for_class_weights(root):
    data = Labelme(str(root), **SMALL)
    data.setup("fit")
    pixels, _ = data.pixel_counts()
    masks = np.stack([mask for _, mask in read(data, "train").values()])
    assert pixels == np.bincount(masks.ravel(), minlength=4).tolist()


def test_a_folder_that_is_not_there_or_holds_nothing_says_what_is_expected(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"(?s)root: there is no .*Expected:.*as labelme saves them"):
            Labelme(str(folder))


def test_a_read_only_folder_is_trained_on_with_a_warning(root, caplog, monkeypatch):
    def refuse(*arguments):
        raise PermissionError("read-only")

    monkeypatch.setattr(os, "replace", refuse)
    data = Labelme(str(root), **SMALL)
    with caplog.at_level(logging.WARNING):
        data.prepare_data()
    assert "cannot be kept" in caplog.text
    assert [path for path in root.iterdir() if path.is_file()] == []


def test_the_command_trains_on_a_folder_with_one_line_and_tests_it(root, workplace):
    write = ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--model.net.width", "2"]
    order = ["--data.order", "[pot, leaf, stem]", "--data.aliases", "{twig: stem}", "--data.num_workers", "0"]
    run("--config", "labelme_unet", "--data.root", root, *write, *order)
    folder = workplace / "runs/labelme_unet/version_0"
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert (root / "labels.found.txt").is_file()
    hyper = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)["hyper_parameters"]
    assert json.loads(json.dumps(hyper["class_names"])) == ["_background_", "leaf", "pot", "stem"]
