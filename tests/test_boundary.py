"""Boundary IoU against masks eroded pixel by pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.boundary import BoundaryIoU, near_outline


def band_of(mask, pixels):
    """Return the pixels of a mask from which a square of 2 · pixels + 1 leaves the mask or the image."""
    padded = np.pad(mask, pixels)
    band = np.zeros_like(mask)
    for y, x in zip(*np.nonzero(mask), strict=True):
        band[y, x] = not padded[y : y + 2 * pixels + 1, x : x + 2 * pixels + 1].all()
    return band


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_it_equals_the_bands_of_each_class_for_any_images(seed, pixels):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 20, 2)
    target, prediction = (np.kron(rng.integers(0, 3, (2, 5, 5)), np.ones((1, 4, 4), int)) for _ in range(2))
    target, prediction = target[:, :height, :width], prediction[:, :height, :width]
    target[:, 2:4, 1:3] = 255
    both, either = np.zeros(3), np.zeros(3)
    for t, p in zip(target, prediction, strict=True):
        for c in range(3):
            truth, predicted = band_of(t == c, pixels), band_of((p == c) & (t != 255), pixels)
            both[c] += (truth & predicted).sum()
            either[c] += (truth | predicted).sum()
    metric = BoundaryIoU(3, width=pixels / float(np.hypot(*target.shape[1:])))
    for t, p in zip(torch.from_numpy(target), torch.from_numpy(prediction), strict=True):
        metric.update(p[None], t[None].to(torch.uint8))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(metric.compute()["boundary_iou"], both / either)


def test_the_background_can_be_left_out_of_the_mean():
    target = torch.zeros(1, 12, 12, dtype=torch.uint8)
    target[:, 3:9, 3:9] = 1
    metric = BoundaryIoU(2, include_background=False)
    metric.update(target.roll(1, 1), target)
    result = metric.compute()
    assert result["boundary_iou"][0].isnan()
    assert 0 < result["mean_boundary_iou"] == result["boundary_iou"][1] < 1


def test_a_band_is_as_wide_as_asked_and_follows_the_border():
    labels = torch.zeros(1, 9, 9)
    assert near_outline(labels, 2)[0, 4].tolist() == [True, True, *[False] * 5, True, True]


def test_settings_outside_their_ranges_are_refused():
    with pytest.raises(ValueError, match=r"width: 0\.0"):
        BoundaryIoU(3, width=0.0)
    with pytest.raises(ValueError, match="num_classes: 1"):
        BoundaryIoU(1)
