"""`seg crossval`: each image is validated once, figures are checked by numpy, and it goes on where it was stopped."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from seg.crossval.command import crossvalidate, main, place
from seg.crossval.fold import SCORES, FoldCLI, unfinished
from seg.crossval.summary import mean_and_deviation, summarise, table, write
from tests.command import REPOSITORY, run, write_config


def fold_scores(folder: Path, names: list[str], matrix: np.ndarray, background: bool = True) -> Path:
    folder.mkdir(parents=True)
    held = {"class_names": names, "include_background": background, "confusion": matrix.tolist(), "images": 1}
    (folder / SCORES).write_text(json.dumps(held))
    return folder


def test_means_spreads_and_pooled_scores_are_those_of_numpy(tmp_path):
    rng = np.random.default_rng(0)
    matrices = rng.integers(1, 1000, (4, 3, 3))
    matrices[2, 1] = matrices[2, :, 1] = 0  # the third fold has none of class 1
    folders = [fold_scores(tmp_path / str(fold), ["a", "b", "c"], matrix) for fold, matrix in enumerate(matrices)]
    found = summarise(folders)

    def iou(matrix):
        matrix = matrix.astype(np.float64)
        with np.errstate(invalid="ignore"):
            return np.diag(matrix) / (matrix.sum(0) + matrix.sum(1) - np.diag(matrix))

    each = np.stack([iou(matrix) for matrix in matrices])
    rows = found.rows()
    for index, (name, mean, deviation, pooled, folds) in enumerate(rows[:-1]):
        there = each[:, index][~np.isnan(each[:, index])]
        assert name == "abc"[index]
        assert folds == (3 if name == "b" else 4)
        assert mean == pytest.approx(there.mean(), abs=1e-12)
        assert deviation == pytest.approx(np.sqrt(((there - there.mean()) ** 2).sum() / (len(there) - 1)), abs=1e-12)
        assert pooled == pytest.approx(iou(matrices.sum(0))[index], abs=1e-12)
    assert rows[-1][1] == pytest.approx(np.nanmean(each, axis=1).mean(), abs=1e-12)
    assert rows[-1][3] == pytest.approx(iou(matrices.sum(0)).mean(), abs=1e-12)
    assert "mIoU" in table(found)

    scores, confusion = write(tmp_path, found)
    with scores.open() as file:
        held = list(csv.DictReader(file))
    assert [row["class"] for row in held] == ["a", "b", "c", "mIoU"]
    assert held[1]["fold_3"] == ""
    assert float(held[0]["fold_2"]) == pytest.approx(each[1, 0], abs=1e-6)
    with confusion.open() as file:
        counts = [row[1:] for row in csv.reader(file)][1:]
    assert np.array_equal(np.array(counts, dtype=int), matrices.sum(0))


def test_a_class_of_no_fold_has_no_figures_and_one_fold_no_spread():
    assert np.isnan(mean_and_deviation(np.array([np.nan, np.nan]))).all()
    mean, deviation = mean_and_deviation(np.array([0.5, np.nan]))
    assert mean == 0.5
    assert np.isnan(deviation)


def test_a_background_that_is_not_counted_stays_out(tmp_path):
    matrix = np.array([[90, 10], [5, 20]])
    found = summarise([fold_scores(tmp_path / str(fold), ["none", "thing"], matrix, background=False) for fold in "01"])
    assert found.rows()[-1][1] == pytest.approx(20 / 35)
    assert "n/a" in table(found).splitlines()[1]


def test_folds_of_different_classes_are_refused(tmp_path):
    folders = [
        fold_scores(tmp_path / "1", ["a", "b"], np.eye(2, dtype=int)),
        fold_scores(tmp_path / "2", ["a", "c"], np.eye(2, dtype=int)),
    ]
    with pytest.raises(ValueError, match=r"classes a, c.*--new"):
        summarise(folders)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "1", "--config", "shapes_unet"], "--folds 1: at least 2"),
        (["--folds", "3", "--only", "4", "--config", "shapes_unet"], "--only 4"),
        (["--folds", "3"], "--config"),
        (["--config", "shapes_unet", "--data.init_args.fold=[1,2]"], "sets this itself"),
        (["--config", "shapes_unet", "--ckpt_path", "last"], "sets this itself"),
        (["--config", "shapes_une"], "Did you mean shapes_unet"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(workplace, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(workplace.iterdir())


@pytest.mark.slow
def test_each_image_is_validated_once_and_the_same_command_runs_nothing_again(workplace, shapes, capfd):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1, enable_progress_bar=False)
    found = crossvalidate(["--config", str(config)], folds=2)
    assert found is not None
    folder = workplace / "runs" / "tiny" / "crossval_0"
    held = [json.loads((folder / f"fold_{fold}" / SCORES).read_text()) for fold in (1, 2)]
    assert sum(fold["images"] for fold in held) == 12 + 5  # training and validation images, each once
    pixels = sum(np.array(fold["confusion"]).sum() for fold in held)
    assert int(found.pooled["confusion"].sum()) == pixels
    # the figures are those of the checkpoint that is named: `seg validate` finds them again
    checkpoint = folder / "fold_2" / held[1]["checkpoint"]
    result = subprocess.run(
        [sys.executable, "-m", "seg", "validate", "--ckpt_path", str(checkpoint)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    assert f"val mIoU {found.miou[1]:.4f}" in result.stdout
    written = yaml.safe_load((folder / "fold_2" / "version_0" / "config.yaml").read_text())
    assert written["data"]["init_args"]["fold"] == [2, 2]
    capfd.readouterr()

    again = crossvalidate(["--config", str(config)], folds=2)
    printed = capfd.readouterr().out
    assert printed.count("done already") == 2
    assert np.array_equal(again.iou, found.iou, equal_nan=True)
    assert not (folder.parent / "crossval_1").exists()

    # another number of folds is another cross-validation; one fold alone gives no figures of all
    assert crossvalidate(["--config", str(config)], folds=3, only=[2]) is None
    assert "not run yet: fold_1, fold_3" in capfd.readouterr().out
    assert sorted(path.name for path in (folder.parent / "crossval_1").iterdir()) == ["crossval.json", "fold_2"]


@pytest.mark.slow
def test_stopped_in_a_fold_it_goes_on_and_ends_with_the_weights_of_the_unstopped_one(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=6, enable_progress_bar=False)
    command = [sys.executable, "-m", "seg", "crossval", "--config", str(config), "--folds", "2"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([*command, "--trainer.default_root_dir", "whole"], env=environment, check=True)

    stopped = [*command, "--trainer.default_root_dir", "stopped"]
    process = subprocess.Popen(stopped, env=environment, start_new_session=True)
    last = workplace / "stopped" / "tiny" / "crossval_0" / "fold_1" / "version_0" / "checkpoints" / "last.ckpt"
    while not last.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(60) == 130
    assert not (last.parent.parent.parent / SCORES).exists()
    subprocess.run(stopped, env=environment, check=True)

    for fold in (1, 2):
        parts = [workplace / kind / "tiny" / "crossval_0" / f"fold_{fold}" for kind in ("whole", "stopped")]
        one, other = (
            torch.load(part / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            for part in parts
        )
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert (parts[0] / SCORES).read_text() == (parts[1] / SCORES).read_text()


def test_a_fold_with_averaged_weights_has_the_scores_of_the_checkpoint_that_is_named(workplace, shapes, capsys):
    fast = {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.03}}}
    average = {"class_path": "seg.averaging.EMA", "init_args": {"decay": 0.5}}
    options = {"max_epochs": 6, "check_val_every_n_epoch": 4, "callbacks": [average], "enable_progress_bar": False}
    config = write_config(workplace / "tiny.yaml", shapes, model=fast, **options)
    part = workplace / "fold_1"
    part.mkdir()
    FoldCLI(part, "best", ["fit", "--config", str(config), "--data.init_args.fold=[1,2]"])
    held = json.loads((part / SCORES).read_text())
    best, last = (part / "version_0/checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    steps = [torch.load(path, weights_only=True)["global_step"] for path in (best, last)]
    assert steps[0] < steps[1]  # or both hold the same weights, and the test could not fail
    capsys.readouterr()
    run("validate", "--ckpt_path", best, "--trainer.callbacks", "null")
    found = np.array(held["confusion"])
    union = found.sum(0) + found.sum(1) - np.diag(found)
    miou = (np.diag(found)[union > 0] / union[union > 0]).mean()
    assert f"val mIoU {miou:.4f}" in capsys.readouterr().out


def test_a_fold_with_lightnings_stochastic_weight_averaging_is_scored_by_the_average(workplace, shapes):
    settings = {"swa_lrs": 0.01, "swa_epoch_start": 1}
    average = {"class_path": "pytorch_lightning.callbacks.StochasticWeightAveraging", "init_args": settings}
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=2, callbacks=[average], enable_progress_bar=False)
    part = workplace / "fold_1"
    part.mkdir()
    FoldCLI(part, "best", ["fit", "--config", str(config), "--data.init_args.fold=[1,2]"])
    assert json.loads((part / SCORES).read_text())["checkpoint"] == "version_0/checkpoints/swa.ckpt"


def test_a_fold_that_was_validated_does_not_say_otherwise_where_its_last_checkpoint_is_scored(
    workplace, shapes, capsys
):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1, enable_progress_bar=False)
    (workplace / "fold_1").mkdir()
    FoldCLI(workplace / "fold_1", "last", ["fit", "--config", str(config), "--data.init_args.fold=[1,2]"])
    printed = capsys.readouterr().out
    assert "checkpoint: fold_1/version_0/checkpoints/last.ckpt" in printed.replace(f"{workplace}/", "")
    assert "no validation took place" not in printed


def test_a_stopped_fold_goes_on_from_the_one_before_a_damaged_checkpoint_or_says_how_to_start_over(tmp_path, capsys):
    folder = tmp_path / "fold_1" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    assert unfinished(tmp_path / "fold_1") is None
    (folder / "last.ckpt").write_bytes(b"damaged")
    torch.save({}, folder / "last-previous.ckpt")
    assert unfinished(tmp_path / "fold_1") == folder / "last-previous.ckpt"
    assert "going on from the one before" in capsys.readouterr().out
    (folder / "last-previous.ckpt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"fold_1: none of its checkpoints is whole; start over with --new"):
        unfinished(tmp_path / "fold_1")


def test_machines_that_begin_at_the_same_time_share_one_folder(tmp_path, monkeypatch):
    wanted = {"folds": 3}
    (tmp_path / "crossval_0").mkdir(parents=True)  # another's
    barrier = threading.Barrier(4)
    real = Path.rename

    def together(path, target):
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(10)
        barrier.abort()  # those who look again go alone
        return real(path, target)

    monkeypatch.setattr(Path, "rename", together)
    with ThreadPoolExecutor(4) as pool:
        folders = [pool.submit(place, tmp_path, wanted, False) for _ in range(4)]
    assert {folder.result() for folder in folders} == {tmp_path / "crossval_1"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crossval_0", "crossval_1"]
    monkeypatch.undo()
    assert place(tmp_path, wanted, new=True) == tmp_path / "crossval_2"
    assert place(tmp_path, {"folds": 4}, new=False) == tmp_path / "crossval_3"


def test_a_fold_that_fails_ends_the_command_with_its_status(workplace, shapes, capfd):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1, enable_progress_bar=False)
    with pytest.raises(SystemExit) as stopped:
        crossvalidate(["--config", str(config), "--model.no_such_thing", "1"], folds=2)
    assert stopped.value.code == 2
    assert "no_such_thing" in capfd.readouterr().err
