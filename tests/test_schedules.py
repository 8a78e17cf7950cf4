import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from seg.schedules import Constant, Cosine, Exponential, InverseTime, OneCycle, Plateau, Poly, Step, scheduler
from tests.fitting import built, fit


def rates(schedule, total, elapsed=lambda: 0.0, steps=None):
    """Return the learning rate of every optimiser step, with a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    follow = scheduler(optimizer, schedule, lambda: total, elapsed)
    seen = []
    for _ in range(steps or int(total)):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        follow.step()
    return seen


@pytest.mark.parametrize("total", [1, 2, 10, 137])
def test_poly_follows_its_formula_and_ends_exactly_at_the_last_step(total):
    expected = [(1 - step / max(1, total - 1)) ** 0.9 for step in range(total)]
    assert rates(Poly(), total) == pytest.approx(expected, abs=1e-12)
    if total > 1:
        assert rates(Poly(), total)[-1] == 0.0


def test_cosine_ends_at_its_end_value():
    seen = rates(Cosine(end=0.1), 11)
    assert seen[0] == 1.0
    assert seen[5] == pytest.approx(0.1 + 0.9 * 0.5)
    assert seen[-1] == pytest.approx(0.1, abs=1e-12)


@pytest.mark.parametrize("warmup", [5, 0.1])
def test_warm_up_rises_linearly_by_steps_or_by_share_and_the_end_is_still_reached(warmup):
    seen = rates(Poly(warmup=warmup), 50)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], abs=0.05)
    assert seen[-1] == 0.0
    assert max(seen) <= 1.0


def test_constant_stays_at_the_base_rate_after_the_warm_up():
    seen = rates(Constant(warmup=4), 20)
    assert seen[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(seen[4:]) == {1.0}


def test_a_time_limit_drives_the_schedule_where_steps_are_unknown():
    clock = iter([0.0, 0.25, 0.5, 0.75, 1.0, 1.5])
    seen = rates(Poly(power=1.0), math.inf, lambda: next(clock), steps=5)
    assert seen == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


def test_whichever_limit_comes_first_drives_the_schedule():
    assert Poly(power=1.0).factor(step=10, total=101, elapsed=0.5) == pytest.approx(0.5)
    assert Poly(power=1.0).factor(step=80, total=101, elapsed=0.5) == pytest.approx(0.2)


def test_warm_up_by_share_of_time_rises_too():
    seen = [Cosine(warmup=0.2).factor(step, math.inf, elapsed) for step, elapsed in [(0, 0.0), (5, 0.1), (9, 0.2)]]
    assert seen == [pytest.approx(1e-3), pytest.approx(0.5), pytest.approx(1.0)]


def test_a_warm_up_can_hold_a_constant_share_and_is_as_long_as_torchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    follow, expected = lr_scheduler.ConstantLR(optimizer, factor=0.25, total_iters=4), []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        follow.step()
    assert rates(Constant(warmup=4, warmup_constant=0.25), 10) == pytest.approx(expected)


def test_a_warm_up_by_share_follows_the_clock_where_time_is_shorter_than_the_steps():
    assert Poly(warmup=0.2).factor(step=50, total=100_000, elapsed=0.1) == pytest.approx(0.5)
    assert Poly(warmup=0.2).factor(step=100, total=100_000, elapsed=0.2) == pytest.approx(1.0)


@pytest.mark.parametrize("total", [10, 137])
def test_one_cycle_is_torchs_and_ends_exactly(total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    follow, expected = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=total, cycle_momentum=False), []
    for step in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total - 1:
            follow.step()
    assert rates(OneCycle(), total) == pytest.approx(expected, abs=1e-9)
    assert rates(OneCycle(), total)[-1] == 4e-6


def test_exponential_and_inverse_time_follow_their_formulas_to_an_end_above_zero():
    progress = np.linspace(0, 1, 21)
    assert rates(Exponential(end=0.01), 21) == pytest.approx(0.01**progress)
    assert rates(InverseTime(end=0.02), 21) == pytest.approx(1 / (1 + 49 * progress))
    ratios = np.array(rates(Exponential(), 21))
    assert ratios[1:] / ratios[:-1] == pytest.approx(np.full(20, 0.01**0.05))


def test_steps_fall_at_shares_of_the_run_and_at_numbers_of_steps():
    seen = rates(Step([0.5, 8], 0.1, warmup=2), 11)
    assert seen == pytest.approx([0.5, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


class Scores:
    """A task whose validation score is given."""

    def __new__(cls, schedule, scores):
        made, given = built(schedule=schedule), iter(scores)
        made.log_results = lambda stage: made.log(f"{stage}/miou", next(given))
        return made


SCORES = [0.5, 0.6, 0.55, 0.6, 0.7, 0.6, 0.65, 0.6]


def test_a_plateau_reduces_the_rate_of_the_coming_step_as_torch_counts_and_survives_a_resume(tmp_path):
    schedule = {"gamma": 0.5, "patience": 1, "end": 0.2}
    whole, _ = fit(Scores(Plateau(**schedule), SCORES), max_epochs=8)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", 0.5, 1, threshold=1e-4, threshold_mode="abs", min_lr=0.2
    )
    expected = []
    for score in SCORES:
        expected += 7 * [optimizer.param_groups[0]["lr"]]
        reference.step(score)
    assert whole.rates == pytest.approx(expected)
    assert len(set(whole.rates)) == 3
    for epochs in (3, 6):
        first, trainer = fit(Scores(Plateau(**schedule), SCORES[:epochs]), max_epochs=epochs)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        rest, _ = fit(Scores(Plateau(**schedule), SCORES[epochs:]), ckpt_path=tmp_path / f"{epochs}.ckpt", max_epochs=8)
        assert first.rates + rest.rates == whole.rates


def test_a_plateau_asks_for_a_score_that_is_logged():
    with pytest.raises(ValueError, match=r"schedule.monitor: 'val/mIoU' is not logged; there are .*val/miou"):
        fit(built(schedule=Plateau("val/mIoU")), max_epochs=1)


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (Cosine, {"warmup_constant": 0.1}, "warmup_constant"),
        (Cosine, {"warmup": 5, "warmup_constant": 2}, "warmup_constant"),
        (Exponential, {"end": 0.0}, "end"),
        (InverseTime, {"end": 1.0}, "end"),
        (Step, {"milestones": []}, "milestones"),
        (Step, {"gamma": 0}, "gamma"),
        (OneCycle, {"warmup": 3}, "warmup"),
        (Plateau, {"gamma": 1.5}, "gamma"),
        (Plateau, {"patience": -1}, "patience"),
    ],
)
def test_impossible_curves_are_refused_by_name(kind, settings, named):
    with pytest.raises(ValueError, match=f"schedule.{named}"):
        kind(**settings)


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"end": 1.5}, {"end": -0.1}, {"warmup": float("nan")}])
def test_impossible_settings_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=f"schedule.{next(iter(settings))}"):
        Cosine(**settings)
