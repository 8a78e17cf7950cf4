"""Two processes through the real command: what they compute together is what one computes alone."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seg.data.shapes import write_tree
from tests.command import process, run, write_config
from tests.recording import gradients

NET = {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2, "norm": "group"}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}
WEIGHTED = {"class_path": "seg.losses.CrossEntropy", "init_args": {"class_weights": [0.3, 1, 2, 0.5, 1.5, 1, 4, 0.1]}}
CROP = {"class_path": "albumentations.RandomCrop", "init_args": {"height": 64, "width": 64}}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    """Draw twelve images of which few have as many valid pixels as the next, and one has none."""
    root = tmp_path_factory.mktemp("data") / "uneven"
    write_tree(root, seed=3, train=12, val=4, test=2)
    names = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    for index, name in enumerate(names):
        path = root / f"SegmentationClass/{name}.png"
        with Image.open(path) as image:
            mask, palette = np.array(image), image.getpalette()
        mask[: int(len(mask) * index / (len(names) - 1))] = 255
        drawn = Image.fromarray(mask)
        drawn.putpalette(palette)
        drawn.save(path)
    return root


def train(folder: Path, root: Path, model: dict, processes: int, accumulate: int, **options) -> Path:
    """Train for an epoch of three steps of four images, however they are divided; return where the gradients are."""
    folder.mkdir()
    keep = [{"class_path": "tests.recording.Gradients", "init_args": {"folder": str(folder)}}]
    config = write_config(
        folder / "tiny.yaml",
        root,
        model={"net": NET, "optimizer": SGD, **model},
        data={"batch_size": 4 // processes // accumulate, "augment": [CROP]},
        max_epochs=1,
        devices=processes,
        accumulate_grad_batches=accumulate,
        callbacks=keep,
        precision="32",
        default_root_dir=str(folder / "runs"),
        **options,
    )
    if processes == 1:
        run("--config", config)
    else:
        result = process("--config", config)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "Warning" not in result.stderr, result.stderr
    return folder


def logged(folder: Path, name: str) -> list[float]:
    with next(folder.glob("runs/tiny/version_0/metrics.csv")).open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def assert_same_training(one: Path, other: Path, processes: int) -> None:
    expected = gradients(one)
    assert len(expected) == 3
    for rank in range(processes):
        for before, after in zip(expected, gradients(other, rank), strict=True):
            first, second = (torch.cat([step[name].flatten() for name in before]) for step in (before, after))
            assert first.norm() > 0.04
            assert (second - first).abs().max() < 1e-5
            assert (second - first).norm() < 1e-5 * first.norm()
    for name in ("train/loss", "val/miou", "test/miou", "val/pixel_accuracy"):
        assert logged(other, name) == pytest.approx(logged(one, name), rel=1e-5), name


@pytest.mark.parametrize("loss", [None, WEIGHTED], ids=["plain", "weighted"])
def test_two_processes_of_two_batches_a_step_have_the_gradients_of_one_of_all_pixels(workplace, uneven, loss):
    model = {"loss": loss} if loss else {}
    one = train(workplace / "one", uneven, model, processes=1, accumulate=1)
    two = train(workplace / "two", uneven, model, processes=2, accumulate=2)
    assert_same_training(one, two, processes=2)
    assert [path.name for path in (two / "runs/tiny").iterdir()] == ["version_0"]


def test_accumulated_batches_have_the_gradients_of_one_batch_of_all_pixels(workplace, uneven):
    clip = {"gradient_clip_val": 0.05}
    one = train(workplace / "one", uneven, {}, processes=1, accumulate=1, **clip)
    four = train(workplace / "four", uneven, {}, processes=1, accumulate=4, **clip)
    assert_same_training(one, four, processes=1)
