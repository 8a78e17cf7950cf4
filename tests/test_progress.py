import csv
import re
import time
from types import SimpleNamespace

import pytest
import torch

from seg.progress import Bar, Clock, PlainProgress, duration, progress
from seg.trainer import TrainingTimer
from tests.command import run, write_config


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


def test_plain_lines_tell_loss_rate_speed_scores_and_what_is_left(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, log_every_n_steps=2)
    run("--config", config)
    lines = capsys.readouterr().out.splitlines()
    number, left = r"\d\.\d{4}", r" · \d+ s left"
    step = re.compile(rf"epoch (\d)/2 · step (\d) · loss ({number}) · lr (\d\.\d\de-\d\d) · \d+\.\d images/s{left}")
    scored = re.compile(
        rf"epoch (\d)/2 · step (\d) · val/loss ({number}) · val/miou ({number}) · val/pixel_accuracy ({number}){left}"
    )
    steps = [found.groups() for line in lines if (found := step.fullmatch(line))]
    scores = [found.groups() for line in lines if (found := scored.fullmatch(line))]
    assert [(epoch, at) for epoch, at, *_ in steps] == [("1", "2"), ("2", "4"), ("2", "6")]
    assert [(epoch, at) for epoch, at, *_ in scores] == [("1", "3"), ("2", "6")]
    with open("runs/tiny/version_0/metrics.csv", encoding="utf-8") as file:
        logged = list(csv.DictReader(file))
    losses = {int(row["step"]) + 1: f"{float(row['train/loss']):.4f}" for row in logged if row["train/loss"]}
    assert [loss for _, _, loss, _ in steps] == [losses[at] for at in (2, 4, 6)]
    for name, told in (("val/loss", 2), ("val/miou", 3), ("val/pixel_accuracy", 4)):
        assert [score[told] for score in scores] == [f"{float(row[name]):.4f}" for row in logged if row[name]]


def test_a_bar_tells_loss_miou_and_what_is_left_once_a_second():
    bar = Bar()
    known = {"train/loss": torch.tensor(0.25), "val/miou": torch.tensor(0.5), "val/loss": torch.tensor(1.0)}
    training = SimpleNamespace(**vars(trainer(0, 400)), training=True, callback_metrics=known)
    bar.clock.start(training)
    bar.clock.began -= 60
    training.global_step = 100
    assert bar.get_metrics(training, None) == {"loss": "0.2500", "val mIoU": "0.5000", "left": duration(180)}
    known["train/loss"] = torch.tensor(0.125)
    assert bar.get_metrics(training, None)["loss"] == "0.2500"
    bar.read_at -= 1
    assert bar.get_metrics(training, None)["loss"] == "0.1250"
    known.clear()
    training.training = False
    bar.read_at -= 1
    assert bar.get_metrics(training, None) == {}


def test_a_bar_counts_epochs_from_1_and_forgets_the_scores_of_the_sanity_check(workplace, shapes, capsys, monkeypatch):
    monkeypatch.setattr("seg.cli.progress", lambda: Bar(leave=True))
    run("--config", write_config(workplace / "tiny.yaml", shapes))
    lines = re.split(r"[\r\n]+", "".join(capsys.readouterr()))
    assert any(line.startswith("epoch 1/2: ") for line in lines)
    assert any(line.startswith("epoch 2/2: 100%") for line in lines)
    validated = next(index for index, line in enumerate(lines) if line.startswith("Validation"))
    assert not any("val mIoU" in line for line in lines[:validated])
