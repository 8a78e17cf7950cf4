import math

import numpy as np
import pytest

from seg.signs import falls, line, signs


def run(train, val, score=None, validations=20, steps=10, noise=0.03, **more):
    """Return the series of a run whose curves are functions of the share of it that is done."""
    generator = np.random.default_rng(0)
    shares = np.linspace(0, 1, validations * steps)
    noisy = [train(share) * (1 + noise * generator.standard_normal()) for share in shares]
    at = [(number + 1) * steps - 1 for number in range(validations)]
    series = {
        "train/loss": list(enumerate(noisy)),
        "val/loss": [(step, val(shares[step]) * (1 + noise / 3 * generator.standard_normal())) for step in at],
    }
    if score is not None:
        series["val/miou"] = [(step, score(shares[step])) for step in at]
    return {**series, **more}


def down(end: float, speed: float = 8.0):
    return lambda share: end + (2 - end) * math.exp(-speed * share)


def words(series) -> list[str]:
    return [text.split(":")[0] for text in signs(series)]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (run(down(0.5, 20), down(0.6, 20), lambda share: 0.6), []),
        (run(down(1.6), down(1.7)), ["underfitting"]),
        (run(down(0.1), lambda share: down(0.5)(share) + 0.8 * max(0, share - 0.4)), ["overfitting"]),
        (run(down(0.2, 20), down(0.7, 20)), ["a gap"]),
        (run(down(1.0, 20), down(0.5, 20)), ["training is the harder task"]),
        (run(down(0.1, 1.5), down(0.15, 1.5), lambda share: 0.1 + 0.4 * share), ["stopped early"]),
        (run(lambda share: 2 + 3 * share, lambda share: 2 + 3 * share), ["diverged"]),
        (
            run(down(0.5, 20), down(0.6, 20), lambda share: 0.5 + 0.1 * (-1) ** round(19 * share)),
            ["validation swings"],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_each_picture_of_the_practitioners_table_is_named_and_no_other(series, expected):
    assert words(series) == expected


def test_a_validation_loss_that_rises_while_miou_does_not_suffer_is_told_apart():
    val = lambda share: down(0.5)(share) + 0.8 * max(0, share - 0.4)  # noqa: E731
    good = run(down(0.1), val, lambda share: 0.7 - 0.5 * math.exp(-8 * share))
    bad = run(down(0.1), val, lambda share: 0.7 - 0.5 * math.exp(-8 * share) - 0.3 * max(0, share - 0.4))
    assert "label smoothing" in signs(good)[0]
    assert "stronger augmentation" in signs(bad)[0]


def test_a_loss_that_falls_fast_is_not_called_the_harder_task_for_being_a_mean_of_what_went_before():
    both = [2.0 * 0.985**step for step in range(241)]
    series = {
        "train/loss": [(float(step), both[step]) for step in range(0, 240, 10)],
        "val/loss": [(float(step), both[step]) for step in range(60, 241, 60)],
    }
    assert not [line for line in signs(series) if line.startswith("training is the harder")]


def test_auxiliary_heads_make_no_gap_and_no_harder_task_of_their_own():
    series = run(down(1.0, 20), down(0.5, 20))
    assert words(series | {"train/loss/auxiliary": series["train/loss"]}) == []


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"train/loss": [(0, 1.0)]},
        {"val/loss": [(0, 1.0)]},
        run(down(1.9), down(1.9), validations=3),
        run(lambda share: math.nan, lambda share: math.nan),
        run(lambda share: 0.0, lambda share: 0.0, lambda share: 0.0),
    ],
)
def test_nothing_is_said_of_runs_that_are_too_short_or_hold_no_numbers(series):
    assert signs(series) == []


def test_classes_that_are_never_found_are_named():
    steps = range(5)
    series = {
        "val/iou/cat": [(step, 0.0) for step in steps],
        "val/iou/dog": [(step, 0.1 * step) for step in steps],
        "val/iou/new": [(4, 0.0)],
    }
    assert [text.split(";")[0] for text in signs(series, ["cat", "dog"])] == ["never found in validation: cat"]
    assert signs(series, ["dog"]) == []  # not there, and only falsely predicted
    assert [text.split(":")[0] for text in signs(series)] == ["IoU 0 in validation, never found or not there at all"]


def test_slope_scatter_and_its_error_are_those_of_numpys_fit():
    values = np.random.default_rng(1).normal(size=12).cumsum()
    (slope, _), covariance = np.polyfit(np.arange(12), values, 1, cov=True)
    assert line(values.tolist())[0] == pytest.approx(slope)
    assert line(values.tolist())[2] == pytest.approx(math.sqrt(covariance[0, 0]))
    assert falls([5.0, 4.0, 3.0, 2.0])
    assert not falls([5.0, 5.0, 4.999, 5.0])
