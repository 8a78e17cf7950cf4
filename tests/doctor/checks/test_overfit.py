import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from seg.convert.palette import write_indexed
from seg.data.dataset import Reader
from seg.mixing import CutMix
from seg.task import SegmentationTask
from tests.doctor.setups import Plain, data_of


def test_a_network_that_cannot_see_the_image_learns_no_eight_samples(doctor, monkeypatch):
    monkeypatch.setattr("seg.doctor.checks.overfit.STEPS", 60)

    class Blind(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.zeros_like(x))

    finding = doctor.only("overfit", net=Blind(), rate=0.03)
    assert finding.severity == "fail"


def test_the_eight_samples_are_not_mixed(doctor):
    class Refusing(CutMix):
        def mix(self, *args):
            raise AssertionError("mixed")

    assert doctor.only("overfit", mixing=Refusing(), seconds=1.0).severity in ("pass", "skip")
    assert doctor.only("permuted", mixing=Refusing(), seconds=1.0).severity == "fail"


@pytest.mark.slow
def test_evaluation_that_differs_from_training_is_told_apart(doctor):
    def stale(task: SegmentationTask) -> None:
        for module in task.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0

    finding = doctor.only("overfit", change=stale)
    assert finding.severity == "fail"
    assert "in training mode" in finding.text


class Leaky(Reader):
    """Draw each mask into its image, as an image that is cut out along its mask has it."""

    def both(self, pair, labels):
        image, mask = super().both(pair, labels)
        return np.where(mask[..., None] == 0, 0, image).astype(np.uint8), mask


class Two(nn.Sequential):
    """A network of two classes that sees 5 pixels."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 2, 1))


def test_labels_that_leak_into_the_images_are_foretold_when_shuffled(doctor, shapes, tmp_path):
    # two classes of half the pixels each: shuffled, nothing but a leak tells them apart
    root = tmp_path / "halves"
    halves(root)
    options = {"classes": ["left", "right"], "colors": None, "augment": []}
    clean = data_of(root, **options)
    assert doctor.only("permuted", data=clean, net=Two()).severity == "pass"
    data = data_of(root, **options)
    data.reader = Leaky
    finding = doctor.only("permuted", data=data, net=Two())
    assert finding.severity == "fail"
    assert "leak" in finding.text


def halves(root) -> None:
    """Draw a tree of grey noise whose left half is one class, the right half the other."""
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (root / "JPEGImages").mkdir()
    (root / "SegmentationClass").mkdir()
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        names = [f"{split}_{number}" for number in range(count)]
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            Image.fromarray(rng.integers(90, 160, (64, 64, 3), dtype=np.uint8)).save(root / f"JPEGImages/{name}.jpg")
            mask = np.zeros((64, 64), np.uint8)
            mask[:, int(rng.integers(28, 36)) :] = 1
            write_indexed(root / f"SegmentationClass/{name}.png", mask, np.zeros((256, 3), np.uint8))


def test_the_samples_are_shuffled_in_blocks_and_nothing_is_lost():
    from seg.doctor.checks.overfit import shuffled

    mask = np.random.default_rng(0).integers(0, 5, (18, 23), dtype=np.uint8)
    other = shuffled(mask, 4, np.random.default_rng(1))
    assert np.array_equal(np.bincount(mask.ravel()), np.bincount(other.ravel()))
    assert not np.array_equal(mask, other)
    assert np.array_equal(mask[16:], other[16:])
    assert np.array_equal(mask[:, 20:], other[:, 20:])
