"""Two processes through the real command: what they compute together is what one computes alone."""

import csv
import hashlib
import http.server
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from seg.data import VOC
from seg.data.shapes import write_tree
from tests.command import process, run, write_config
from tests.convert.labelme_files import shape, square, write_pair
from tests.data.conftest import write_voc
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


@pytest.mark.parametrize("loss", [None, pytest.param(WEIGHTED, marks=pytest.mark.slow)], ids=["plain", "weighted"])
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


@pytest.mark.slow
def test_two_processes_of_which_some_batches_are_blends_do_not_wait_for_each_other(workplace, shapes):
    mixing = {"class_path": "seg.mixing.MixUp", "init_args": {"p": 0.5}}
    options = {"data": {"batch_size": 2}, "devices": 2, "max_epochs": 4, "precision": "32"}
    config = write_config(workplace / "tiny.yaml", shapes, model={"mixing": mixing}, **options)
    result = process("--config", config, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(logged(workplace, "train/loss")) == 12


def test_two_processes_fetch_once_make_one_folder_and_one_wandb_run(workplace):
    folder, asked = workplace / "served", []
    tree = write_voc(workplace / "tree/VOCdevkit/VOC2012", {"train": 4, "val": 2}, [(40, 40)])
    folder.mkdir()
    with tarfile.open(folder / "voc.tar", "w") as tar:
        tar.add(tree.parent, "VOCdevkit")
    md5 = hashlib.md5((folder / "voc.tar").read_bytes()).hexdigest()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(folder), **options)

        def log_request(self, *args):
            asked.append(self.command)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/voc.tar"
        VOC(str(workplace / "alone/VOC2012"), ["a", "b", "c"], download=True, url=address, md5=md5).prepare_data()
        alone = len(asked)  # of which some are for redirections
        data = {"root": "data/VOCdevkit/VOC2012", "download": True, "url": address, "md5": md5, "crop": [32, 32]}
        # the statistics need the images before Lightning would have them fetched
        data |= {"classes": ["a", "b", "c"], "colors": None, "stats": "auto", "batch_size": 1}
        config = write_config(workplace / "tiny.yaml", workplace, data=data, devices=2, max_epochs=1)
        result = process("--config", config, "--trainer.logger", "seg.loggers.WandB")
        server.shutdown()
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(asked) == 2 * alone
    assert [path.name for path in (workplace / "runs/tiny").iterdir()] == ["version_0"]
    assert len(list((workplace / "runs/tiny/version_0/wandb").glob("offline-run-*"))) == 1
    deadline = time.monotonic() + 30  # W&B's own process writes on for a moment
    while not (files := list(workplace.rglob("run-*.wandb"))) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(files) == 1
    assert result.stdout.count("test mIoU") == 1


@pytest.mark.slow
def test_two_processes_draw_each_mask_once_before_the_first_step(workplace):
    root, shapes = workplace / "photos", [shape("leaf", square(5, 5, 20)), shape("pot", square(30, 9, 9))]
    for number in range(8):
        write_pair(root / f"{number}.json", shapes[: 1 + number % 2], seed=number)
    data = {"class_path": "tests.recording.CountedLabelme"}
    data["init_args"] = {"root": str(root), "batch_size": 1, "crop": [32, 32], "num_workers": 0, "check": False}
    loss = {"class_path": "seg.losses.CrossEntropy", "init_args": {"class_weights": "auto"}}
    config = write_config(workplace / "tiny.yaml", root, model={"loss": loss}, devices=2, max_steps=1, max_epochs=None)
    written = yaml.safe_load(config.read_text())
    written["data"] = data
    written["trainer"] |= {"limit_val_batches": 0, "limit_train_batches": 1}
    config.write_text(yaml.safe_dump(written))
    result = process("--config", config)
    assert result.returncode == 0, result.stdout + result.stderr
    drawn = Counter((root / "drawn.txt").read_text().split())
    # once to count classes for split and weights; then one image a process to train on, the two to test on, one to show
    assert set(drawn) == {str(number) for number in range(8)}
    assert sum(drawn.values()) == 8 + 2 + 2 + 1
