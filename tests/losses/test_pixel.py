import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from seg.losses import CrossEntropy, Focal
from tests.losses.every import WEIGHTS, make_batch
from tests.losses.formulas import batches, cross_entropy_of, pixels_of


@settings(max_examples=40, deadline=None)
@given(batches(), st.floats(0, 0.9))
def test_label_smoothing_equals_its_formula_when_classes_are_not_weighted(batch, smoothing):
    logits, target = batch
    expected = cross_entropy_of(*pixels_of(logits, target), None, smoothing) if (target != 255).any() else 0.0
    value = CrossEntropy(label_smoothing=smoothing)(torch.from_numpy(logits), torch.from_numpy(target))
    np.testing.assert_allclose(float(value), expected, rtol=1e-9, atol=1e-12)


def test_plain_cross_entropy_is_torchs_own():
    logits, target = make_batch(dtype=torch.float32)
    torch.testing.assert_close(CrossEntropy()(logits, target), F.cross_entropy(logits, target, ignore_index=255))
    weighted = F.cross_entropy(logits, target, torch.tensor(WEIGHTS), ignore_index=255, label_smoothing=0.1)
    torch.testing.assert_close(CrossEntropy(WEIGHTS, label_smoothing=0.1)(logits, target), weighted)


def test_torchs_own_cross_entropy_is_nan_where_all_is_ignored_and_ours_is_not():
    logits, target = make_batch()
    nothing = torch.full_like(target, 255)
    assert F.cross_entropy(logits, nothing, ignore_index=255).isnan()
    for loss in (CrossEntropy(), CrossEntropy(WEIGHTS, label_smoothing=0.1), CrossEntropy(hard_below=0.7), Focal()):
        assert loss(logits, nothing) == 0


def test_focal_without_gamma_is_cross_entropy():
    logits, target = make_batch()
    torch.testing.assert_close(Focal(0.0)(logits, target), CrossEntropy()(logits, target))
    torch.testing.assert_close(Focal(0.0, WEIGHTS)(logits, target), CrossEntropy(WEIGHTS)(logits, target))


def test_hard_example_mining_keeps_what_is_below_the_threshold_and_never_too_little():
    logits, target = make_batch()
    p, t = pixels_of(logits.detach().numpy(), target.numpy())
    true = np.sort(p[np.arange(len(t)), t])
    expected = -np.log(true[true < 0.3]).mean()
    assert float(CrossEntropy(hard_below=0.3, min_hard=1)(logits, target)) == pytest.approx(expected)
    expected = -np.log(true[:10]).mean()  # 5 of each of 2 images
    assert float(CrossEntropy(hard_below=1e-6, min_hard=5)(logits, target)) == pytest.approx(expected)
    assert float(CrossEntropy(hard_below=1e-6, min_hard=999)(logits, target)) == pytest.approx(-np.log(true).mean())
