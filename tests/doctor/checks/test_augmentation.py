import albumentations as A
import cv2
import numpy as np
import pytest

from tests.doctor.setups import data_of


def test_masks_that_are_resized_bilinearly_are_found(doctor, shapes, monkeypatch):
    def bilinear(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_LINEAR)

    data = data_of(shapes, resize=(80, 80))
    assert doctor.only("augmentation", data=data).severity == "pass"
    monkeypatch.setattr("seg.data.dataset.resize_mask", bilinear)
    finding = doctor.only("augmentation", data=data_of(shapes, resize=(80, 80)))
    assert finding.severity == "fail"
    assert "were not there before" in finding.text


class FlipsTheImageAlone(A.HorizontalFlip):
    """A flip that forgets the mask."""

    def apply_to_mask(self, mask: np.ndarray, **params: object) -> np.ndarray:
        return mask


def test_an_augmentation_that_forgets_the_mask_is_found(doctor, shapes):
    finding = doctor.only("augmentation", data=data_of(shapes, augment=[FlipsTheImageAlone(p=1.0)]))
    assert finding.severity == "fail"
    assert "not moved together" in finding.text


@pytest.mark.parametrize("preset", ["light", "standard", "strong"])
def test_no_shipped_augmentation_raises_a_false_alarm(doctor, shapes, preset):
    assert doctor.only("augmentation", data=data_of(shapes, augment=preset)).severity == "pass"


def test_masks_that_are_not_resized_with_their_images_agree_too(doctor, shapes):
    data = data_of(shapes, resize=(56, 56), resize_masks=False, augment=[A.HorizontalFlip(p=0.5)])
    assert doctor.only("augmentation", data=data).severity == "pass"
