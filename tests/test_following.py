"""A run that goes on: what its optimiser is set to now holds, what is not changed goes on bit for bit."""

import pytest
import torch
import yaml

from seg.schedules import Constant, Cosine, Plateau
from tests.command import run, write_config
from tests.fitting import BATCHES, built, fit
from tests.test_schedule_ends import Saves, rates_of


def sgd(kind=torch.optim.SGD, **settings):
    """Return what builds an optimiser with a rate of 1 where no other is given."""
    return lambda params: kind(params, **{"lr": 1.0, **settings})


class Counting(torch.optim.SGD):
    """Count its steps in its groups, as Prodigy and the schedule-free optimisers do."""

    def __init__(self, params, **settings) -> None:
        super().__init__(params, **settings)
        for group in self.param_groups:
            group["k"] = 0

    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
        return super().step(closure)


def test_a_lower_rate_and_another_decay_hold_when_the_command_goes_on_and_are_said(workplace, shapes, capsys):
    model = {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9}}}
    config = write_config(workplace / "tiny.yaml", shapes, model=model, max_epochs=1)
    run("--config", config)
    assert "as set now" not in capsys.readouterr().out
    optimizer = "--model.optimizer.init_args"
    changes = [f"{optimizer}.lr", "0.0001", f"{optimizer}.weight_decay", "0.1", "--trainer.max_epochs", "2"]
    run("--config", config, "--ckpt_path", "last", *changes)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("as set now")]
    assert said == ["as set now, not as in the checkpoint: weight_decay 0.1 instead of 0, lr 0.0001 instead of 0.01"]
    folder = workplace / "runs/tiny/version_0"
    rates = rates_of(folder)
    half = len(rates) // 2
    assert [round(rate, 9) for rate in rates] == [0.01] * half + [0.0001] * half
    held = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    groups = held["optimizer_states"][0]["param_groups"]
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.0001, 0.1), (0.0001, 0.0)]
    assert held["lr_schedulers"][0]["base_lrs"] == [0.0001, 0.0001]
    written = yaml.safe_load((folder / "config.yaml").read_text())["model"]["optimizer"]["init_args"]
    assert (written["lr"], written["weight_decay"]) == (0.0001, 0.1)
    # and they are the settings that the next one begins with
    run("--config", config, "--ckpt_path", "last", *changes[:-1], "3")
    assert "as set now" not in capsys.readouterr().out


def test_the_factor_of_a_larger_batch_holds_after_a_resume_as_the_log_says(tmp_path):
    saves = Saves(tmp_path / "cut.ckpt", BATCHES)
    settings = {"schedule": Constant(), "lr_reference_batch": 2}
    fit(built(**settings), callbacks=(saves,), max_epochs=2)
    rest, _ = fit(built(**settings), ckpt_path=saves.path, max_epochs=2, accumulate_grad_batches=4)
    assert set(rest.rates) == {4.0}


def test_what_an_optimiser_moves_in_its_groups_goes_on_and_equal_settings_change_nothing(tmp_path, capsys):
    saves = Saves(tmp_path / "cut.ckpt", 3)
    fit(built(optimizer=sgd(Counting)), callbacks=(saves,), max_epochs=1)
    rest, trainer = fit(built(optimizer=sgd(Counting)), ckpt_path=saves.path, max_epochs=1)
    assert len(rest.rates) == BATCHES - 3
    assert {group["k"] for group in trainer.optimizers[0].param_groups} == {BATCHES}
    assert "as set now" not in capsys.readouterr().out


def test_a_reduced_plateau_goes_on_with_every_bit_of_its_rate(tmp_path):
    def plateau():
        return Plateau(monitor="val/loss", gamma=0.1, patience=0, threshold=9.0)

    whole, _ = fit(built(schedule=plateau()), max_epochs=5)
    _, trainer = fit(built(schedule=plateau()), max_epochs=4)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    rest, _ = fit(built(schedule=plateau()), ckpt_path=tmp_path / "end.ckpt", max_epochs=5)
    assert rest.rates == whole.rates[4 * BATCHES :]
    assert rest.rates[0] < 0.1
    # a new rate is reduced by what the run has seen as well
    lower, _ = fit(built(schedule=plateau(), optimizer=sgd(lr=0.5)), ckpt_path=tmp_path / "end.ckpt", max_epochs=5)
    assert lower.rates == pytest.approx([rate / 2 for rate in rest.rates])


def test_a_run_that_is_made_longer_follows_the_longer_curve_from_its_first_step_on(tmp_path):
    _, trainer = fit(built(schedule=Cosine()), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    longer, _ = fit(built(schedule=Cosine()), ckpt_path=tmp_path / "end.ckpt", max_epochs=2)
    expected, _ = fit(built(schedule=Cosine()), max_epochs=2)
    assert longer.rates == expected.rates[BATCHES:]


def test_a_schedule_that_changed_settings_put_behind_its_end_is_said(tmp_path, capsys):
    saves = Saves(tmp_path / "cut.ckpt", 5)
    fit(built(schedule=Cosine(end=0.25)), callbacks=(saves,), max_epochs=1)
    assert "past its end" not in capsys.readouterr().out
    rest, _ = fit(built(schedule=Cosine(end=0.25)), None, saves.path, max_epochs=1, accumulate_grad_batches=3)
    assert set(rest.rates) == {0.25}
    line = next(line for line in capsys.readouterr().out.splitlines() if "past its end" in line)
    assert "5 optimiser steps are made, with the settings of now the run has 3" in line


def test_the_state_of_another_kind_of_optimiser_is_refused_with_what_to_do(tmp_path):
    _, trainer = fit(built(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(ValueError, match=r"model.optimizer: .* another kind than AdamW .*betas.*model.init_from"):
        fit(built(optimizer=sgd(torch.optim.AdamW)), None, tmp_path / "end.ckpt", max_epochs=2)
