import albumentations as A
import numpy as np
import pytest

from seg.data.augment import Augment, leaves
from seg.data.pixels import Pixels
from seg.data.presets import PRESETS, RandAugment, prefer_rare, preset
from seg.data.transforms import RandomScaleCrop, default_augmentation
from tests.data.conftest import labels, picture

RGB = Pixels()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_crops_keeps_to_the_labels_and_depends_on_the_samples_numbers_alone(name):
    image, mask = picture(0, 70, 90), labels(0, 70, 90, 6)
    one, other = (Augment(preset(name)((48, 56), RGB), seed=2) for _ in range(2))
    seen = {}
    for position in range(40):
        seen[position] = one(image, mask, 1, position)
        assert (seen[position][0].shape, seen[position][1].shape) == ((48, 56, 3), (48, 56))
        assert set(np.unique(seen[position][1])) <= {*range(6), 255}
    for position in reversed(seen):
        for array, expected in zip(other(image, mask, 1, position), seen[position], strict=True):
            np.testing.assert_array_equal(array, expected)
    assert len({array.tobytes() for array, _ in seen.values()}) == 40


def test_presets_are_ordered_by_how_much_they_change():
    image, mask = picture(3, 64, 64), labels(3, 64, 64, 4)
    changes = {}
    for name in PRESETS:
        transforms = preset(name)((64, 64), RGB)
        for transform in leaves(transforms):
            if isinstance(transform, RandomScaleCrop):
                transform.scale = (1.0, 1.0)  # colours and turns alone
        augment = Augment([t for t in transforms if not isinstance(t, A.HorizontalFlip)])
        drawn = [augment(image, mask, 0, position)[0].astype(float) for position in range(60)]
        changes[name] = np.mean([np.abs(array - image).mean() for array in drawn])
    assert changes["light"] == 0
    assert 0 < changes["standard"] < changes["strong"]
    assert changes["random"] > 0


def test_the_standard_is_the_default_and_stands_for_null():
    kinds = [type(transform) for transform in default_augmentation((4, 5))]
    assert [type(transform) for transform in preset("standard")((4, 5), RGB)] == kinds
    assert preset(None) is preset("standard")
    with pytest.raises(ValueError, match="augment: 'storng' is none of light, standard, strong, random"):
        preset("storng")


def test_randaugment_applies_as_many_of_its_changes_as_asked_for_and_grows_with_the_magnitude():
    image, mask = picture(1, 60, 60), labels(1, 60, 60, 4)

    def mean_turn(magnitude):
        augment = Augment([RandAugment(13, magnitude)])
        return np.mean([(augment(image, mask, 0, position)[1] != mask).mean() for position in range(30)])

    assert mean_turn(0) < 0.01
    assert mean_turn(2) < mean_turn(9)

    applied = []
    policy = RandAugment(3)
    for transform in policy.transforms:
        original = transform.apply_with_params
        transform.apply_with_params = lambda *args, original=original, **data: (
            applied.append(1),
            original(*args, **data),
        )[1]
    policy.set_random_seed(0)
    for _ in range(20):
        policy(image=image, mask=mask)
    assert len(applied) == 60
    for wrong in ({"magnitude": 11}, {"magnitude": -1}, {"operations": 0}, {"operations": 14}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RandAugment(**wrong)


def test_rare_crops_need_the_crop_that_can_choose_its_window_also_inside_groups():
    crop = RandomScaleCrop(20, 20)
    prefer_rare([A.OneOf([A.Sequential([crop]), A.NoOp()])], [3], 0.25)
    assert (crop.rare_labels, crop.rare_share) == ([3], 0.25)
    with pytest.raises(ValueError, match=r"rare_crops: .*RandomScaleCrop"):
        prefer_rare([A.RandomCrop(20, 20)], [3], 0.25)


def test_presets_that_change_colours_are_refused_for_other_images():
    bands = Pixels("native", 5, "uint16", [100.0] * 5, [10.0] * 5)
    for name in ("strong", "random"):
        with pytest.raises(
            ValueError, match=f"augment: '{name}' changes the colours of 8-bit RGB, .*5 bands of uint16"
        ):
            preset(name)((48, 56), bands)
    image, mask = np.full((60, 70, 5), 100, np.uint16), np.zeros((60, 70), np.uint8)
    for name in ("light", "standard"):
        assert Augment(preset(name)((48, 56), bands), pixels=bands)(image, mask, 0, 0)[0].shape == (48, 56, 5)
