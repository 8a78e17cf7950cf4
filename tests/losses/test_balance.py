import os

import numpy as np
import pytest
import torch

from seg.losses import CrossEntropy, Dice, Focal, Sum, balance
from tests.losses.every import make_batch


def test_median_frequency_divides_by_the_pixels_of_images_that_contain_the_class():
    pixels = torch.tensor([600, 300, 100])
    images = torch.tensor([1000, 1000, 500])
    expected = 0.3 / np.array([0.6, 0.3, 0.2])
    np.testing.assert_allclose(balance(pixels, images, "median_frequency"), expected, rtol=1e-6)
    assert torch.equal(balance(pixels, images, "auto"), balance(pixels, images, "median_frequency"))


@pytest.mark.skipif("SEG_SHARED_DATA" not in os.environ, reason="needs CamVid, below the folder SEG_SHARED_DATA")
def test_median_frequency_balancing_of_camvid_gives_the_published_weights():
    from seg.data import CamVid
    from seg.data.images import Labels, read_mask

    data = CamVid(os.path.join(os.environ["SEG_SHARED_DATA"], "CamVid"))
    pixels, images, labels = np.zeros(256, np.int64), np.zeros(256, np.int64), Labels(11, {11: 255})
    for pair in data.pairs("train"):
        counts = np.bincount(labels.apply(read_mask(pair.mask), pair.mask).ravel(), minlength=256)
        pixels, images = pixels + counts, images + (counts > 0) * counts.sum()
    weights = balance(torch.from_numpy(pixels[:11]), torch.from_numpy(images[:11]), "auto")
    expected = [0.279, 0.202, 4.79, 0.149, 1.00, 0.422, 3.85, 1.97, 0.789, 6.37, 8.86]
    assert [float(f"{weight:.3g}") for weight in weights.tolist()] == expected


def test_the_other_balances_equal_their_formulas():
    pixels = np.array([600.0, 300.0, 100.0])
    counts = torch.tensor([600, 300, 100])
    np.testing.assert_allclose(balance(counts, counts, "enet"), 1 / np.log(1.02 + pixels / 1000), rtol=1e-6)
    root = pixels**-0.5
    np.testing.assert_allclose(balance(counts, counts, "inverse_square_root"), root / root.mean(), rtol=1e-6)
    b = 1 - 1 / (1000 / 3)
    effective = (1 - b) / (1 - b**pixels)
    np.testing.assert_allclose(balance(counts, counts, "effective_number"), effective / effective.mean(), rtol=1e-6)


@pytest.mark.parametrize("name", ["auto", "median_frequency", "inverse_square_root", "effective_number", "enet"])
def test_balancing_favours_rare_classes_and_leaves_absent_ones_at_one(name):
    weights = balance(torch.tensor([10**8, 10**6, 0, 100]), torch.tensor([10**8, 10**8, 0, 10**7]), name)
    assert weights[0] < weights[1] < weights[3] < torch.inf
    assert weights[2] == 1


@pytest.mark.parametrize(
    "build", [lambda: CrossEntropy("auto"), lambda: Sum({"ce": CrossEntropy("enet"), "d": Dice()})]
)
def test_computed_weights_travel_with_the_checkpoint(build, tmp_path):
    logits, target = make_batch()
    fitted, loaded = build(), build()
    assert fitted.needs_pixel_counts
    with pytest.raises(ValueError, match="computed from the training split at the start of a fit"):
        fitted(logits, target)
    fitted.set_pixel_counts(torch.tensor([60, 20, 15, 5]), torch.full((4,), 100))
    assert not fitted.needs_pixel_counts
    torch.save(fitted.state_dict(), tmp_path / "loss.pth")
    loaded.load_state_dict(torch.load(tmp_path / "loss.pth", weights_only=True))
    assert not loaded.needs_pixel_counts
    assert torch.equal(loaded(logits, target), fitted(logits, target))


def test_weights_that_cannot_be_are_refused():
    logits, target = make_batch()
    with pytest.raises(ValueError, match="class_weights: 3 weights for 4 classes"):
        CrossEntropy([1.0, 2.0, 3.0])(logits, target)
    with pytest.raises(ValueError, match="alpha: 3 weights for 4 classes"):
        Focal(alpha=[1.0, 2.0, 3.0])(logits, target)
    with pytest.raises(ValueError, match="class_weights: 'balanced' is none of auto, median_frequency"):
        CrossEntropy("balanced")
    with pytest.raises(ValueError, match=r"class_weights: \[1.0, -2.0\]"):
        CrossEntropy([1.0, -2.0])
    with pytest.raises(ValueError, match=r"alpha: 0.25, but every class needs its own weight"):
        Focal(alpha=0.25)
    with pytest.raises(ValueError, match="no class has a pixel"):
        balance(torch.zeros(3), torch.zeros(3), "auto")
