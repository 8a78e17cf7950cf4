"""Every shipped config runs through the real command, on data that the test draws."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seg.convert.palette import voc_colors, write_indexed
from tests.cityscapes_tree import write_tree
from tests.command import REPOSITORY, run

CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))

SMALL = {
    "DeepLabV3": ["--model.net.encoder", "resnet18", "--model.net.channels", "8", "--model.net.weights", "null"],
    "others": ["--model.net.width", "2", "--model.net.weights", "null"],
}
"""The same network, narrow enough for a test and without a download."""


def picture(rng: np.random.Generator, path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)


def labels(rng: np.random.Generator, path: Path, size: tuple[int, int], classes: int) -> None:
    mask = np.kron(rng.integers(0, classes, (size[0] // 20, size[1] // 20)), np.ones((20, 20))).astype(np.uint8)
    mask[:4] = 255
    write_indexed(path, mask, voc_colors(classes))


@pytest.fixture(scope="module")
def roots(tmp_path_factory, shapes) -> dict[str, Path]:
    """Draw a tiny tree for each data set that a config may name."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("trees")
    camvid, voc, labelme = folder / "CamVid", folder / "VOC2012", folder / "labelme"
    for split, number in (("train", 4), ("val", 2), ("test", 2)):
        lines = []
        for index in range(number):
            name = f"{split}_{index}.png"
            picture(rng, camvid / split / name, (360, 480))
            labels(rng, camvid / f"{split}annot" / name, (360, 480), 11)
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n")
            if split != "test":
                picture(rng, voc / "JPEGImages" / f"{split}_{index}.jpg", (80 + 20 * index, 100))
                labels(rng, voc / "SegmentationClass" / name, (80 + 20 * index, 100), 21)
        (camvid / f"{split}.txt").write_text("".join(lines))
        lists = voc / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True, exist_ok=True)
        if split != "test":
            (lists / f"{split}.txt").write_text("".join(f"{split}_{index}\n" for index in range(number)))
    for index in range(5):
        square = [[10, 10], [50 + index, 12], [30, 60]]
        drawn = [{"label": "leaf", "points": square}, {"label": "pot", "points": [[70, 70], [95, 90], [60, 90]]}]
        picture(rng, labelme / f"{index}.jpg", (100, 120))
        (labelme / f"{index}.json").write_text(json.dumps({"shapes": drawn, "imagePath": f"{index}.jpg"}))
    cityscapes = write_tree(folder / "cityscapes", (96, 192))
    return {
        "seg.data.CamVid": camvid,
        "seg.data.Cityscapes": cityscapes,
        "seg.data.Labelme": labelme,
        "seg.data.Shapes": shapes,
        "seg.data.VOC": voc,
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_trains_tests_and_leaves_its_pictures(workplace, roots, path):
    config = yaml.safe_load(path.read_text())
    kind = config["data"]["class_path"]
    small = SMALL["DeepLabV3" if "DeepLabV3" in config["model"]["net"]["class_path"] else "others"]
    data = ["--data.root", roots[kind], "--data.batch_size", "2", "--data.num_workers", "0"]
    if "crop" in config["data"]["init_args"]:
        data += ["--data.crop", "[64, 96]"]
    if kind == "seg.data.Shapes":
        data += ["--data.train_images", "12", "--data.val_images", "5", "--data.test_images", "5"]
    limits = {"limit_train_batches": 2, "limit_val_batches": 2, "max_steps": 2, "check_val_every_n_epoch": 1}
    short = [word for name, value in limits.items() for word in (f"--trainer.{name}", str(value))]
    begun = []
    if "init_from" in config["model"]:
        run("--config", "shapes_unet", *small, *data, *short)
        begun = ["--model.init_from", workplace / "runs/shapes_unet/version_0/checkpoints/best.ckpt"]
    run("--config", path.stem, *small, *data, *short, *begun)
    folder = workplace / "runs" / path.stem / "version_0"
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert (folder / "curves.png").is_file()
    assert list((folder / "examples").glob("*.png"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_is_short_and_says_what_it_trains_and_how_well(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0].startswith("# ")
    assert "mIoU" in lines[0] or "not measured" in lines[0]
