import time
from types import SimpleNamespace

import pytest

from seg.progress import Clock, PlainProgress, duration, progress
from seg.trainer import TrainingTimer


def trainer(step, total, callbacks=()):
    return SimpleNamespace(global_step=step, estimated_stepping_batches=total, callbacks=list(callbacks))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.2, "0 s"),
        (0, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (3600, "60 min"),
        (7500, "2 h 05 min"),
        (47.9 * 3600, "47 h 54 min"),
        (50 * 3600, "2 d 2 h"),
    ],
)
def test_a_time_is_said_in_its_largest_units(seconds, text):
    assert duration(seconds) == text


def test_what_is_left_follows_from_the_steps_since_training_began_or_went_on():
    clock = Clock()
    clock.start(trainer(100, 400))
    assert clock.left(trainer(100, 400)) == "", "nothing is known yet"
    clock.began = time.monotonic() - 50
    assert clock.left(trainer(150, 400)) == duration(250)
    assert clock.left(trainer(150, float("inf"))) == ""
    assert clock.left(trainer(401, 400)) == "0 s"


def test_a_time_limit_that_comes_first_is_what_is_left():
    clock = Clock()
    clock.start(trainer(0, 1000))
    clock.began = time.monotonic() - 50
    limit = TrainingTimer("00:00:01:00")
    assert clock.left(trainer(10, 1000, [limit])) == "60 s"
    assert clock.left(trainer(10, float("inf"), [limit])) == "60 s"
    assert clock.left(trainer(10, 10, [limit])) == "0 s"


def test_where_nobody_watches_a_terminal_there_are_plain_lines():
    assert isinstance(progress(), PlainProgress)
