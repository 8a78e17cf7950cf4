import csv
from pathlib import Path

import pytest
import torch
import yaml

from seg.trainer import Trainer
from tests.command import assert_same_weights, run, write_config
from tests.fitting import built, fit
from tests.test_schedule_ends import Saves


@pytest.mark.parametrize("accumulated", [1, 2, 4])
def test_validation_comes_every_so_many_optimiser_steps_and_after_the_last(accumulated):
    seen, trainer = fit(built(), max_epochs=3, accumulate_grad_batches=accumulated, val_every_n_steps=4)
    steps = 3 * -(-7 // accumulated)
    assert trainer.global_step == steps
    assert seen.validated == sorted({*range(4, steps + 1, 4), steps})


def test_validation_comes_after_the_last_step_of_a_run_limited_by_steps():
    assert fit(built(), max_steps=5, val_every_n_steps=2, accumulate_grad_batches=2)[0].validated == [2, 4, 5]


@pytest.mark.parametrize("saved", range(1, 12))
def test_a_resumed_run_validates_at_the_same_steps(tmp_path, saved):
    settings = {"max_epochs": 3, "accumulate_grad_batches": 2, "val_every_n_steps": 3}
    saves = Saves(tmp_path / "cut.ckpt", saved)
    whole, _ = fit(built(), callbacks=(saves,), **settings)
    rest, _ = fit(built(), ckpt_path=saves.path, **settings)
    assert whole.validated == [3, 6, 9, 12]
    # Lightning takes a validation for done that was about to follow the step in which a checkpoint was written
    assert rest.validated == [step for step in whole.validated if step > saved]


def rows(folder: Path, name: str) -> dict[int, float]:
    with (folder / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row[name]}


def test_scores_are_logged_at_their_step_and_ctrl_c_moves_none_of_them(workplace, shapes):
    settings = {"max_epochs": 3, "accumulate_grad_batches": 2, "val_every_n_steps": 2}
    config = write_config(workplace / "tiny.yaml", shapes, data={"batch_size": 2}, **settings)
    run("--config", config)
    whole = workplace / "runs/tiny/version_0"
    assert list(rows(whole, "val/miou")) == [1, 3, 5, 7, 8]  # the step just made, as for train/loss: the first is 0
    assert max(rows(whole, "train/loss")) == 8
    saved = yaml.safe_load((whole / "config.yaml").read_text())["trainer"]
    assert saved["val_every_n_steps"] == 2
    with pytest.raises(SystemExit):
        run(
            "--config", config, "--trainer.callbacks", "[{class_path: tests.stopping.PressCtrlC, init_args: {step: 5}}]"
        )
    other = workplace / "runs/tiny/version_1"
    assert torch.load(other / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    run("--config", config, "--ckpt_path", "last")
    assert rows(other, "val/miou") == rows(whole, "val/miou")
    assert_same_weights(*(folder / "checkpoints/best.ckpt" for folder in (whole, other)))


@pytest.mark.parametrize("other", [{"val_check_interval": 5}, {"check_val_every_n_epoch": 2}])
def test_two_intervals_are_refused(other):
    with pytest.raises(ValueError, match="set one of the three"):
        Trainer(val_every_n_steps=3, logger=False, accelerator="cpu", **other)
    with pytest.raises(ValueError, match=r"trainer.val_every_n_steps: 0"):
        Trainer(val_every_n_steps=0, logger=False, accelerator="cpu")
