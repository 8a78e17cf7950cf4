import math

import pytest
import torch

from seg.schedules import Constant, Cosine, Poly, scheduler


def rates(schedule, total, elapsed=lambda: 0.0, steps=None):
    """Return the learning rate of every optimiser step, with a base rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    follow = scheduler(optimizer, schedule, total, elapsed)
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


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"end": 1.5}, {"end": -0.1}])
def test_impossible_settings_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=f"schedule.{next(iter(settings))}"):
        Cosine(**settings)
