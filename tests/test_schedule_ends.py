"""The end value of a schedule is reached exactly at the last optimiser step, however a run is limited or cut."""

import csv
import time
from datetime import timedelta
from pathlib import Path

import pytest
from pytorch_lightning.callbacks import BatchSizeFinder, Callback

from seg.schedules import Constant, Cosine, Exponential, InverseTime, OneCycle, Poly, Step
from tests.command import SMALL, process, write_config
from tests.fitting import BATCHES, Data, built, fit
from tests.stopping import StopAfter

LIMITS = {"steps": {"max_steps": 5, "max_epochs": -1}, "epochs": {"max_epochs": 3}, "time": {"max_time": None}}


class Passes(Callback):
    """Let 0.7 s pass with every batch, on a clock that stands still otherwise."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def on_train_batch_start(self, *args) -> None:
        self.now += 0.7


class Saves(Callback):
    """Save a checkpoint behind an optimiser step, as Ctrl-C does."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step == self.step and not self.path.exists():
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("limit", LIMITS)
def test_the_last_optimiser_step_has_the_end_rate_also_after_a_resume(tmp_path, monkeypatch, limit, accumulated):
    settings = {**LIMITS[limit], "accumulate_grad_batches": accumulated}
    passes = ()
    if limit == "time":
        settings["max_time"], passes = timedelta(seconds=13), (Passes(monkeypatch),)
    saves = Saves(tmp_path / "cut.ckpt", 3)
    whole, _ = fit(built(schedule=Cosine(end=0.25)), callbacks=(saves, *passes), **settings)
    assert whole.rates[-1] == 0.25
    assert min(whole.rates[:-1]) > 0.25
    assert whole.rates[0] == 1.0
    if limit == "epochs":
        assert len(whole.rates) == 3 * -(-BATCHES // accumulated)
    if limit == "time":
        # the step in which the time ran out, and the one at the end rate
        assert len(whole.rates) == {1: 20, 4: 7}[accumulated]
    rest, _ = fit(built(schedule=Cosine(end=0.25)), ckpt_path=saves.path, callbacks=passes, **settings)
    assert rest.rates[-1] == 0.25
    assert min(rest.rates[:-1]) > 0.25
    if limit != "time":
        assert rest.rates == whole.rates[3:]


def test_a_run_that_has_had_its_time_is_not_trained_on_and_one_with_more_time_is(tmp_path, monkeypatch):
    passes = Passes(monkeypatch)
    _, trainer = fit(built(schedule=Poly()), callbacks=(passes,), max_time=timedelta(seconds=5))
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    again, _ = fit(built(schedule=Poly()), None, tmp_path / "end.ckpt", (passes,), max_time=timedelta(seconds=5))
    assert again.rates == []
    longer, _ = fit(built(schedule=Poly()), None, tmp_path / "end.ckpt", (passes,), max_time=timedelta(seconds=8))
    assert len(longer.rates) > 2
    assert longer.rates[-1] == 0.0


@pytest.mark.parametrize(
    ("schedule", "end"),
    [
        (Poly(end=0.1), 0.1),
        (OneCycle(end=0.01), 0.01),
        (Exponential(end=0.03), 0.03),
        (InverseTime(end=0.03), 0.03),
        (Step([0.5, 3], 0.5), 0.25),
        (Constant(warmup=2, warmup_constant=0.1), 1.0),
        (Poly(end=0.5, warmup=100), 0.5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_curve_ends_exactly_in_a_real_fit(schedule, end):
    seen, _ = fit(built(schedule=schedule), max_epochs=2, accumulate_grad_batches=4, limit_val_batches=0)
    assert len(seen.rates) == 4
    assert seen.rates[-1] == end


def test_clipping_sees_the_gradient_of_all_accumulated_batches_once():
    settings = {"max_epochs": 2, "accumulate_grad_batches": 4, "limit_val_batches": 0}
    free, _ = fit(built(), **settings)
    clipped, _ = fit(built(), gradient_clip_val=0.01, **settings)
    assert free.norms[0] > 0.02
    assert len(clipped.norms) == 3  # seen before the next step's: not those of the last
    assert all(norm == pytest.approx(0.01, rel=1e-3) for norm in clipped.norms)


def test_the_rate_grows_with_the_global_batch_and_the_log_says_so(capsys):
    made = built(lr_reference_batch=16, schedule=Constant())
    seen, _ = fit(made, max_epochs=1, accumulate_grad_batches=4, limit_val_batches=0)
    assert set(seen.rates) == {0.5}  # 2 images × 4 batches where 16 are meant
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("learning rate"))
    assert "× 0.5" in line
    assert "8 images a step (2 a batch × 4 accumulated × 1 processes)" in line
    assert line.endswith("meant for 16")


def test_a_schedule_ends_with_the_run_also_where_the_batch_size_is_found_when_it_begins(tmp_path):
    finder = BatchSizeFinder(max_trials=2, steps_per_trial=1)
    settings = {"max_epochs": 4, "default_root_dir": tmp_path}
    seen, trainer = fit(built(schedule=Cosine(warmup=0.25)), callbacks=(finder,), **settings)
    assert trainer.datamodule.batch_size == 4
    expected, _ = fit(built(schedule=Cosine(warmup=0.25)), Data(4, -(-BATCHES // 2)), **settings)
    assert seen.rates == expected.rates
    assert len(seen.rates) == 16
    assert seen.rates[-1] == 0.0


def test_a_finder_of_the_batch_size_is_refused_where_rates_are_scaled_and_where_a_run_goes_on(tmp_path):
    def finder():
        return (BatchSizeFinder(max_trials=1, steps_per_trial=1),)

    with pytest.raises(ValueError, match=r"model.lr_reference_batch: BatchSizeFinder .* data.batch_size"):
        fit(built(lr_reference_batch=2), callbacks=finder(), max_epochs=1, default_root_dir=tmp_path)
    _, trainer = fit(built(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(ValueError, match=r"BatchSizeFinder .* checkpoint; leave it out .* data.batch_size"):
        fit(built(), None, tmp_path / "end.ckpt", finder(), max_epochs=2, default_root_dir=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("accumulated", [1, 4])
@pytest.mark.parametrize("limit", [{"max_epochs": 2}, {"max_steps": 3, "max_epochs": -1}, {"max_time": "00:00:00:03"}])
def test_two_processes_reach_the_end_rate_at_their_last_step_too(workplace, shapes, limit, accumulated):
    model = {**SMALL["model"], "schedule": {"class_path": "seg.schedules.Cosine", "init_args": {"end": 0.25}}}
    config = write_config(
        workplace / "tiny.yaml", shapes, model=model, data={"batch_size": 1, "crop": [32, 32]}, devices=2,
        strategy="ddp", accumulate_grad_batches=accumulated, **{"max_epochs": None, **limit},
    )  # fmt: skip
    result = process("--config", config)
    assert result.returncode == 0, result.stderr
    rates = rates_of(workplace / "runs/tiny/version_0")
    assert rates[-1] == pytest.approx(0.25e-3, rel=1e-6)  # logged in float32
    assert rates[0] == pytest.approx(1e-3)
    if "max_epochs" in limit and limit["max_epochs"] == 2:
        assert len(rates) == 2 * -(-6 // accumulated)  # 12 images, 2 processes, batches of 1


def rates_of(folder: Path) -> list[float]:
    """Return the rate of every optimiser step: rows of one step are those of its batches."""
    with (folder / "metrics.csv").open() as file:
        rows = {int(row["step"]): float(row["lr/net"]) for row in csv.DictReader(file) if row["lr/net"]}
    return [rows[step] for step in sorted(rows)]


def test_a_run_stopped_at_an_epochs_end_ends_at_the_end_rate_too(tmp_path):
    _, trainer = fit(built(schedule=Poly()), callbacks=(StopAfter(7),), max_epochs=3)
    trainer.save_checkpoint(tmp_path / "epoch.ckpt")
    rest, _ = fit(built(schedule=Poly()), ckpt_path=tmp_path / "epoch.ckpt", max_epochs=3)
    assert len(rest.rates) == 14
    assert rest.rates[-1] == 0.0
