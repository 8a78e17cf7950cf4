"""One checkpoint, one score: however it is counted, by whichever command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seg import predict, score
from seg.data.shapes import write_tree
from tests.command import process, run, write_config


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> Path:
    """Draw 7 images to validate on and 7 to test on, of differing sizes."""
    root = tmp_path_factory.mktemp("seven") / "shapes"
    write_tree(root, seed=3, train=8, val=7, test=7)
    return root


def keep(file: str) -> list[str]:
    return ["--trainer.callbacks", f"[{{class_path: tests.scoring.KeepScores, init_args: {{file: {file}}}}}]"]


def kept(file: str) -> dict[str, dict]:
    return {line["stage"]: line for line in map(json.loads, Path(file).read_text().splitlines())}


def names_of(root: Path, split: str) -> list[str]:
    return (root / f"ImageSets/Segmentation/{split}.txt").read_text().split()


def test_two_processes_count_what_one_counts_on_seven_images(workplace, seven):
    config = write_config(workplace / "tiny.yaml", seven, max_epochs=1)
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    result = process("--config", config, *two, "--trainer.precision", "32", *keep("two.json"))
    assert result.returncode == 0, result.stderr
    best = "runs/tiny/version_0/checkpoints/best.ckpt"
    for command in ("validate", "test"):
        run(command, "--ckpt_path", best, "--trainer.devices", "1", "--trainer.strategy", "auto", *keep("one.json"))
    assert kept("one.json") == kept("two.json")
    pixels = sum(
        np.sum(np.array(Image.open(seven / f"SegmentationClass/{name}.png")) != 255) for name in names_of(seven, "val")
    )
    assert np.sum(kept("two.json")["val"]["confusion"]) == pixels  # every image once


@pytest.mark.slow
def test_two_processes_score_a_checkpoint_as_one_does(workplace, seven):
    run(
        "--config",
        write_config(workplace / "tiny.yaml", seven, max_epochs=1),
        "--trainer.precision",
        "32",
        *keep("one.json"),
    )
    best = "runs/tiny/version_0/checkpoints/best.ckpt"
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", *keep("two.json")]
    for command in ("validate", "test"):
        result = process(command, "--ckpt_path", best, *two)
        assert result.returncode == 0, result.stderr
        assert "recommended to use `self.log" not in result.stderr
    assert kept("one.json") == kept("two.json")


@pytest.mark.slow
def test_more_processes_than_images_are_refused_instead_of_waiting(workplace, tmp_path):
    write_tree(tmp_path / "one", seed=3, train=8, val=1, test=2)
    config = write_config(workplace / "tiny.yaml", tmp_path / "one", max_epochs=1)
    result = process("--config", config, "--trainer.devices", "2", "--trainer.strategy", "ddp")
    assert result.returncode == 2
    assert "1 images cannot be shared among 2 processes" in result.stderr


def test_batch_size_workers_and_order_do_not_change_a_count(workplace, seven):
    config = write_config(workplace / "tiny.yaml", seven, max_epochs=1)
    run("--config", config, "--trainer.precision", "32", *keep("fit.json"))
    best = "runs/tiny/version_0/checkpoints/best.ckpt"
    lists = seven / "ImageSets/Segmentation"
    (lists / "backwards.txt").write_text("\n".join(reversed(names_of(seven, "test"))))
    split = "--data.init_args.test_split"
    for size, workers, order in ((1, 0, "test"), (3, 2, "test"), (7, 1, "backwards")):
        settings = [
            "--data.init_args.batch_size",
            str(size),
            "--data.init_args.num_workers",
            str(workers),
            split,
            order,
        ]
        run("test", "--ckpt_path", best, *settings, *keep("test.json"))
        assert kept("test.json")["test"] == kept("fit.json")["test"], settings


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
@pytest.mark.parametrize(
    "data", [{}, {"resize": [64, 80]}, {"resize": [150, 140], "resize_masks": False, "batch_size": 1}]
)
def test_training_validating_and_predicting_then_scoring_give_one_number(workplace, seven, data, precision, capsys):
    config = write_config(workplace / "tiny.yaml", seven, data=data, max_epochs=2)
    run("--config", config, "--trainer.precision", precision, *keep("fit.json"))
    folder = Path("runs/tiny/version_0")
    best = folder / "checkpoints/best.ckpt"
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    trained = max(float(row["val/miou"]) for row in rows if row["val/miou"])

    run("validate", "--ckpt_path", best, *keep("again.json"))
    run("test", "--ckpt_path", best, *keep("again.json"))
    again = kept("again.json")
    assert np.float32(again["val"]["miou"]) == np.float32(trained)
    assert again["test"] == kept("fit.json")["test"]

    names = yaml.safe_load(config.read_text())["data"]["init_args"]["classes"]
    Path("classes.txt").write_text("\n".join(names))
    for split in ("val", "test"):
        images = [seven / f"JPEGImages/{name}.jpg" for name in names_of(seven, split)]
        predict.main([str(best), *map(str, images), "--out", f"masks_{split}", "--save", "masks"])
        masks = [f"masks_{split}", str(seven / "SegmentationClass"), "--classes", "classes.txt"]
        score.main([*masks, "--list", str(seven / f"ImageSets/Segmentation/{split}.txt"), "--json", f"{split}.json"])
        scored = json.loads(Path(f"{split}.json").read_text())
        assert [row[:-1] for row in scored["confusion"]] == again[split]["confusion"]
        assert scored["mean_iou"] == again[split]["miou"]
