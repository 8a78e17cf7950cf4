"""The settings of sampling, splits, sizes and mixing, each with the real command."""

import csv
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from seg.data import VOC
from seg.task import SegmentationTask
from tests.command import assert_same_weights, process, run, write_config
from tests.recording import recorded, recording

EVERYTHING = {
    "sampling": "balanced",
    "repeat": 2,
    "rare_crops": 0.5,
    "multi_scale": [0.5, 1.0, 1.25],
    "augment": "random",
    "fold": [2, 3],
}
MIXINGS = {
    "MixUp": {"class_path": "seg.mixing.MixUp", "init_args": {"p": 0.7}},
    "CutMix": {"class_path": "seg.mixing.CutMix"},
    "RICAP": {"class_path": "seg.mixing.RICAP"},
    "CopyPaste": {"class_path": "seg.mixing.CopyPaste", "init_args": {"classes": ["heart", "star"]}},
}


def losses(run_folder: Path) -> list[str]:
    with (run_folder / "metrics.csv").open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row.get("train/loss")]


@pytest.mark.parametrize("mixing", ["MixUp", "CutMix"])
def test_a_run_with_everything_that_is_drawn_resumes_exactly_in_the_middle_of_an_epoch(workplace, shapes, mixing):
    # 11 or 12 images twice in batches of 4: 5 or 6 steps an epoch
    config = write_config(workplace / "tiny.yaml", shapes, model={"mixing": MIXINGS[mixing]}, data=EVERYTHING)
    run("--config", config)
    press = "[{class_path: tests.stopping.PressCtrlC, init_args: {step: 8}}]"
    with pytest.raises(SystemExit):
        run("--config", config, "--trainer.callbacks", press)
    whole, folder = (workplace / "runs/tiny" / f"version_{number}" for number in (0, 1))
    last = folder / "checkpoints/last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 8
    run("--config", config, "--ckpt_path", last)
    assert_same_weights(whole / "checkpoints/last.ckpt", last)
    assert losses(whole) == losses(folder) != []


def test_mixing_changes_the_losses_whatever_they_are_and_its_checkpoint_loads_by_its_path(workplace, shapes):
    weighted = {"class_path": "seg.losses.CrossEntropy", "init_args": {"class_weights": "auto"}}
    terms = {"ce": weighted, "dice": {"class_path": "seg.losses.Dice"}}
    loss = {"class_path": "seg.losses.Sum", "init_args": {"terms": terms}}
    for mixing in (None, *MIXINGS.values()):
        model = {"loss": loss, "mixing": mixing}
        run("--config", write_config(workplace / "tiny.yaml", shapes, model=model, max_epochs=1))
    results = [losses(workplace / "runs/tiny" / f"version_{number}") for number in range(5)]
    assert len({tuple(result) for result in results}) == 5
    for number, name in enumerate(MIXINGS, 1):
        path = workplace / "runs/tiny" / f"version_{number}" / "checkpoints/best.ckpt"
        assert type(SegmentationTask.load_from_checkpoint(path, weights_only=True).mixing).__name__ == name
    run("test", "--ckpt_path", path)


def test_batches_are_repeated_resized_and_drawn_by_class_as_the_settings_say(workplace, shapes):
    data = {"repeat": 3, "multi_scale": [0.5, 1.5], "sampling": "balanced", "num_workers": 1}
    run(
        "--config",
        write_config(workplace / "tiny.yaml", shapes, data=data),
        "--trainer.callbacks",
        f"[{recording(workplace)}]",
    )
    seen = recorded(workplace)
    assert [(epoch, batch) for epoch, batch, *_ in seen] == [(epoch, batch) for epoch in (0, 1) for batch in range(9)]
    for epoch in (0, 1):
        shapes_seen = {tuple(shape) for number, *_, shape, _ in seen if number == epoch}
        assert shapes_seen == {(4, 3, 32, 32), (4, 3, 96, 96)}
    counts = Counter(name for _, _, names, *_ in seen for name in names)
    assert max(counts.values()) > 6  # with replacement: some come oftener than three times an epoch
    run(
        "--config",
        workplace / "tiny.yaml",
        "--data.num_workers",
        "0",
        "--trainer.callbacks",
        f"[{recording(workplace)}]",
    )
    assert recorded(workplace)[18:] == seen  # whatever the number of workers


def test_folds_of_three_runs_validate_on_every_image_once_and_write_one_list(workplace, shapes):
    validated = []
    for number in (1, 2, 3):
        data = VOC(str(shapes), classes=list("abcdefgh"), fold=(number, 3), num_workers=0)
        data.setup("fit")
        train, val = ([pair.id for pair in data.datasets[split].pairs] for split in ("train", "val"))
        assert not set(train) & set(val)
        assert len(train) + len(val) == 17
        validated += val
    lists = shapes / "ImageSets" / "Segmentation"
    official = (lists / "train.txt").read_text().split() + (lists / "val.txt").read_text().split()
    assert sorted(validated) == sorted(official)
    assert [pair.id for pair in data.datasets["test"].pairs] == (lists / "test.txt").read_text().split()
    (lists / "val.txt").rename(lists / "kept.txt")  # nobody needs a list of what is chosen anyway
    try:
        alone = VOC(str(shapes), classes=list("abcdefgh"), val_fraction=0.25, num_workers=0)
        alone.setup("fit")
        assert (len(alone.datasets["train"]), len(alone.datasets["val"])) == (9, 3)
    finally:
        (lists / "kept.txt").rename(lists / "val.txt")


def test_the_division_does_not_change_with_the_seed_of_the_run(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, data={"val_fraction": 0.3}, max_epochs=1)
    said = []
    for seed in ("1", "2"):
        run("--config", config, "--seed_everything", seed)
        said.append(next(line for line in capsys.readouterr().out.splitlines() if "divided as in" in line))
    assert said[0] == said[1]
    assert said[0].startswith("12 images to train on, 5 to validate on")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"augment": "storng"}, "augment: 'storng' is none of light, standard, strong, random"),
        ({"fold": [4, 3]}, "fold: [4, 3] must be [k, n]"),
        ({"fold": [1, 40]}, "asks for 40 folds of 17 images; take fewer folds"),
        ({"val_fraction": 0.01}, "leaves none for validation"),
        ({"val_fraction": 0.2, "group": "(x)"}, "group: (x) gives no group to 17 of 17 images"),
        ({"rare_crops": 0.5, "rare_classes": ["hart"]}, "rare_classes: 'hart' is no class"),
        ({"rare_crops": 0.5, "augment": []}, "RandomScaleCrop"),
        ({"sampling": "balanced", "repeat": 0}, "repeat: 0"),
        ({"multi_scale": [0.0]}, "multi_scale: [0.0]"),
    ],
)
def test_a_setting_that_cannot_be_ends_with_one_message_before_the_first_step(workplace, shapes, capsys, data, message):
    with pytest.raises(SystemExit) as refused:
        run("--config", write_config(workplace / "tiny.yaml", shapes, data=data))
    assert refused.value.code == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert "step 1" not in captured.out


def test_presets_and_lists_are_both_taken_from_the_command_line(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    free = (
        "[{class_path: seg.data.transforms.RandomScaleCrop, init_args: {height: 64, width: 64, cat_max_ratio: 0.75}}]"
    )
    for augment in ("light", "null", "strong", "random", free):
        run("--config", config, "--data.augment", augment)
    results = [losses(workplace / "runs/tiny" / f"version_{number}") for number in range(5)]
    assert len({tuple(result) for result in results}) == 5
    saved = yaml.safe_load((workplace / "runs/tiny/version_2/config.yaml").read_text())
    assert saved["data"]["init_args"]["augment"] == "strong"


@pytest.mark.slow
def test_two_processes_share_the_order_and_the_size_of_each_batch(workplace, shapes):
    data = {"batch_size": 2, "repeat": 3, "sampling": "balanced", "multi_scale": [0.5, 1.0]}
    config = write_config(workplace / "tiny.yaml", shapes, model={"mixing": MIXINGS["CutMix"]}, data=data)
    callbacks = ["--trainer.callbacks", f"[{recording(workplace)}]"]
    result = process("--config", config, "--trainer.devices", "2", "--trainer.strategy", "ddp", *callbacks)
    assert result.returncode == 0, result.stderr
    shown = [recorded(workplace, rank) for rank in (0, 1)]
    (workplace / "rank_0.jsonl").unlink()
    run("--config", config, "--data.batch_size", "4", *callbacks)
    alone = recorded(workplace)
    assert len(shown[0]) == len(shown[1]) == len(alone) == 18
    for first, second, both in zip(*shown, alone, strict=True):
        # positions are dealt in turn, so that two batches of two hold what one of four would
        assert [name for pair in zip(first[2], second[2], strict=True) for name in pair] == both[2]
        assert first[3][1:] == second[3][1:] == both[3][1:]
        assert first[4] + second[4] == both[4]
