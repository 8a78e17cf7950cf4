"""Set-ups without a fault pass every check of `seg doctor run`; each check is shown its own fault in `checks/`."""

import math

import pytest
import torch
from torch import Tensor

from seg import losses
from seg.doctor.run import CHECKS
from seg.task import SegmentationTask
from tests.doctor.setups import NUMBER
from tests.models.networks import NETWORKS, ONE_OF_EACH

QUICK = [name for name in CHECKS if name not in ("rate", "overfit", "permuted", "loader", "memory")]
"""Checks without training."""


@pytest.mark.slow
def test_a_healthy_set_up_passes_every_check_and_its_weights_stay_as_they_were(doctor):
    kept = {}
    report = doctor.report(*CHECKS, change=lambda task: kept.update(task=task, state=copied(task)))
    assert [(f.check, f.severity) for f in report.findings] == [(name, "pass") for name in CHECKS], report.findings
    assert set(report.pictures) == {"schedule", "augmentation", "layers", "range_test", "overfit"}
    assert all(torch.equal(value, kept["state"][name]) for name, value in kept["task"].state_dict().items())
    assert all(parameter.grad is None for parameter in kept["task"].parameters())


def test_a_healthy_set_up_passes_what_is_quick(doctor):
    report = doctor.report(*QUICK)
    assert [(f.check, f.severity) for f in report.findings] == [(name, "pass") for name in QUICK], report.findings


def copied(task: SegmentationTask) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


@pytest.mark.parametrize(
    "name", [*(name for name in ONE_OF_EACH if "v3" not in name), pytest.param("deeplabv3plus", marks=pytest.mark.slow)]
)
def test_no_shipped_network_raises_a_false_alarm(doctor, name):
    net = NETWORKS[name](num_classes=NUMBER, **({"width": 32} if name == "largefov" else {}))
    checks = [check for check in QUICK if check not in ("labels", "schedule", "augmentation", "objects")]
    found = doctor.findings(*checks, net=net)
    assert {f.severity for f in found} == {"pass"}, found


LOSSES = {
    "weighted": losses.CrossEntropy(class_weights="auto"),
    "smoothed": losses.CrossEntropy(label_smoothing=0.2),
    "hard": losses.CrossEntropy(hard_below=0.7, min_hard=500),
    "focal": losses.Focal(),
    "dice": losses.Dice(),
    "tversky": losses.Tversky(),
    "lovasz": losses.Lovasz(),
    "sum": losses.Sum({"ce": losses.CrossEntropy(), "dice": losses.Dice()}, {"dice": 0.5}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_first_loss_of_every_loss_is_near_that_of_equal_logits(doctor, name):
    report = doctor.report("loss", "gradients", loss=LOSSES[name])
    assert [f.severity for f in report.findings] == ["pass", "pass"], report.findings
    figures = report.figures["loss"]
    if name in ("weighted", "smoothed"):
        assert figures["uniform"] == pytest.approx(math.log(NUMBER), rel=1e-5)
    if name == "focal":
        assert figures["uniform"] == pytest.approx((1 - 1 / NUMBER) ** 2 * math.log(NUMBER), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_eight_samples_are_learnt_with_every_loss(doctor, name):
    found = doctor.findings("rate", "overfit", "permuted", loss=LOSSES[name], rate=0.003)
    assert {f.severity for f in found} == {"pass"}, found


def test_what_is_cut_short_is_never_passed(doctor):
    found = doctor.findings("rate", "overfit", "permuted", seconds=0.5)
    assert {f.severity for f in found} == {"skip"}, found
    assert all("--seconds" in f.cure for f in found)
