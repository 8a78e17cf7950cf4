"""Calibration error against numpy."""

import numpy as np
import pytest
import torch

from seg.calibration import CalibrationError


def test_it_equals_the_definition_for_any_split_into_batches():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 5, 8, 9)) * 3
    target = rng.integers(0, 5, (4, 8, 9))
    target[:, :2] = 255
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    valid = target != 255
    confidence, right = p.max(1)[valid], (p.argmax(1) == target)[valid]
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    metric = CalibrationError(5)
    for index in (slice(0, 1), slice(1, 4)):
        metric.update(torch.from_numpy(logits[index]), torch.from_numpy(target[index]))
    result = metric.compute()
    assert float(result["calibration_error"]) == pytest.approx(expected, abs=1e-6)
    assert result["bin_pixels"].sum() == valid.sum()


def test_certain_and_right_is_perfectly_calibrated_and_certain_and_wrong_is_not():
    target = torch.randint(0, 3, (1, 4, 4))
    logits = torch.nn.functional.one_hot(target, 3).movedim(-1, 1) * 100.0
    metric = CalibrationError(3)
    metric.update(logits, target)
    assert metric.compute()["calibration_error"] == 0
    metric.reset()
    metric.update(logits, (target + 1) % 3)
    assert metric.compute()["calibration_error"] == 1


def test_labels_instead_of_logits_are_refused():
    with pytest.raises(ValueError, match="logits: shape"):
        CalibrationError(3).update(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8))
