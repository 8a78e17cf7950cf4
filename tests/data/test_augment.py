import pickle

import albumentations as A
import cv2
import numpy as np
import pytest

from seg.data.augment import Augment
from seg.data.pixels import Pixels
from seg.data.transforms import FastColorJitter
from tests.data.conftest import picture

GEOMETRIC = [
    A.Affine(rotate=(-40, 40), scale=(0.5, 1.5), translate_percent=(-0.3, 0.3), shear=(-20, 20)),
    A.Rotate(limit=80),
    A.SafeRotate(limit=80),
    A.ShiftScaleRotate(shift_limit=0.3),
    A.Perspective(scale=(0.1, 0.3)),
    A.ElasticTransform(alpha=200, sigma=8),
    A.GridDistortion(distort_limit=0.8, normalized=False),
    A.OpticalDistortion(distort_limit=0.9),
    A.ThinPlateSpline(scale_range=(0.3, 0.5)),
    A.PadIfNeeded(400, 400, position="random"),
    A.Pad(20),
    A.CropAndPad(px=(-20, 30)),
    A.RandomCrop(300, 300, pad_if_needed=True),
    A.CenterCrop(300, 300, pad_if_needed=True),
    A.Crop(0, 0, 300, 300, pad_if_needed=True),
    A.RandomScale((-0.5, 1.0)),
    A.RandomResizedCrop((60, 70)),
    A.RandomSizedCrop((50, 100), (60, 70)),
    A.LongestMaxSize(100),
    A.SmallestMaxSize(100),
    A.Resize(50, 60),
    A.Downscale(),
    A.HorizontalFlip(),
    A.VerticalFlip(),
    A.Transpose(),
    A.D4(),
    A.RandomRotate90(),
    A.RandomGridShuffle(),
    A.GridElasticDeform(num_grid_xy=(4, 4), magnitude=20),
    A.Morphological(),
]


@pytest.mark.parametrize("transform", GEOMETRIC, ids=lambda transform: type(transform).__name__)
def test_no_geometric_transform_gives_a_label_that_was_not_there(transform):
    if isinstance(transform, A.GridElasticDeform):  # it fills with 0 and cannot be told otherwise
        with pytest.raises(ValueError, match="augment: GridElasticDeform gives masks labels that were not there"):
            Augment([transform])
        return
    augment = Augment([transform])
    transform.p = 1.0
    mask = np.full((130, 170), 3, np.uint8)
    mask[40:90, ::3] = 9
    for position in range(20):
        _, new = augment(picture(0, 130, 170), mask, 0, position)
        assert set(np.unique(new).tolist()) <= {3, 9, 255}


@pytest.mark.parametrize("group", [A.OneOf, A.Sequential, A.Compose, A.SomeOf, A.RandomOrder])
def test_masks_are_filled_with_255_inside_groups_too(group):
    inner = A.Rotate(limit=(40, 50), p=1.0)
    other = A.Affine(translate_px=(30, 30), p=1.0)
    augment = Augment([group([A.Sequential([inner], p=1.0), other], p=1.0)])
    assert inner.fill_mask == other.fill_mask == 255
    filled = set()
    for position in range(10):
        filled |= set(np.unique(augment(picture(0, 64, 64), np.full((64, 64), 3, np.uint8), 0, position)[1]).tolist())
    assert filled == {3, 255}


def test_a_fill_that_is_a_class_is_refused():
    with pytest.raises(ValueError, match=r"augment: Rotate gives hidden pixels of masks the label 4.*fill_mask: 255"):
        Augment([A.Rotate(fill_mask=4)])


def test_interpolated_masks_are_refused():
    with pytest.raises(ValueError, match="augment: Affine interpolates masks"):
        Augment([A.Affine(rotate=20, mask_interpolation=cv2.INTER_LINEAR)])


@pytest.mark.parametrize("kind", [A.CoarseDropout, A.GridDropout])
def test_cutting_out_is_a_stated_choice(kind):
    mask = np.full((64, 64), 3, np.uint8)
    kept = Augment([kind(p=1.0)])
    assert set(np.unique(kept(picture(0, 64, 64), mask, 0, 0)[1])) == {3}
    ignored = Augment([kind(p=1.0, fill_mask=255)])
    assert set(np.unique(ignored(picture(0, 64, 64), mask, 0, 0)[1])) == {3, 255}
    with pytest.raises(ValueError, match=f"{kind.__name__} gives hidden pixels of masks the label 0"):
        Augment([kind(p=1.0, fill_mask=0)])


def test_objects_that_are_cut_out_are_ignored_and_not_background():
    augment = Augment([A.MaskDropout(max_objects=3, p=1.0)])
    mask = np.zeros((40, 40), np.uint8)
    mask[5:10, 5:10] = mask[20:30, 20:30] = 3
    assert set(np.unique(augment(picture(0, 40, 40), mask, 0, 0)[1])) <= {0, 3, 255}
    assert any(np.any(augment(picture(0, 40, 40), mask, 0, position)[1] == 255) for position in range(10))


def test_pixel_dropout_into_a_class_is_refused():
    with pytest.raises(ValueError, match="augment: PixelDropout"):
        Augment([A.PixelDropout(mask_drop_value=0, p=1.0)])
    Augment([A.PixelDropout()])
    Augment([A.PixelDropout(mask_drop_value=255)])


class Blurred(A.DualTransform):
    """A transform by a user who forgot that labels are no picture."""

    def apply(self, img, **params):
        return cv2.blur(img, (5, 5))

    def apply_to_mask(self, mask, **params):
        return cv2.blur(mask, (5, 5))


class Zeroed(A.DualTransform):
    """A transform that clears a corner, in the mask too."""

    def apply(self, img, **params):
        img = img.copy()
        img[:20, :20] = 0
        return img


class Wide(A.DualTransform):
    """A transform that resizes the image alone."""

    def apply(self, img, **params):
        return cv2.resize(img, (50, 50))

    def apply_to_mask(self, mask, **params):
        return mask


@pytest.mark.parametrize("kind", [Blurred, Zeroed])
def test_an_unknown_transform_that_invents_labels_is_found_out(kind):
    with pytest.raises(ValueError, match=f"augment: {kind.__name__} gives masks labels that were not there"):
        Augment([A.OneOf([kind(p=0.1), A.NoOp()])])


def test_an_unknown_transform_that_treats_the_image_alone_is_found_out():
    with pytest.raises(ValueError, match="augment: Wide gives a mask that does not fit its image"):
        Augment([Wide()])


@pytest.mark.parametrize("transform", [A.Normalize(), A.ToFloat(), A.pytorch.ToTensorV2()])
def test_normalising_on_the_cpu_is_refused_with_the_reason(transform):
    with pytest.raises(ValueError, match=r"does not give a uint8 image .* on the device"):
        Augment([transform])


def test_something_that_is_no_transform_is_refused():
    with pytest.raises(ValueError, match="is not an albumentations transform"):
        Augment([lambda image: image])


def test_a_crop_larger_than_the_first_probe_is_accepted():
    Augment([A.RandomCrop(700, 900)])


def test_what_is_drawn_depends_on_seed_epoch_and_position_alone():
    transforms = [A.Affine(rotate=(-40, 40), p=0.7), A.HorizontalFlip(), A.GaussNoise(), A.CoarseDropout()]
    one, image, mask = Augment(transforms, seed=3), picture(0, 50, 60), np.zeros((50, 60), np.uint8)
    expected = {(epoch, position): one(image, mask, epoch, position) for epoch in (0, 1) for position in range(5)}
    other = pickle.loads(pickle.dumps(one))
    for key in reversed(expected):
        new = other(image, mask, *key)
        np.testing.assert_array_equal(new[0], expected[key][0])
        np.testing.assert_array_equal(new[1], expected[key][1])
    assert len({value[0].tobytes() for value in expected.values()}) == 10
    assert one(image, mask, 0, 0)[0].tobytes() != Augment(transforms, seed=4)(image, mask, 0, 0)[0].tobytes()


def test_transforms_of_a_list_draw_independently_of_each_other():
    augment = Augment([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])
    image = np.zeros((2, 2, 3), np.uint8)
    mask = np.array([[0, 1], [2, 3]], np.uint8)
    corners = [int(augment(image, mask, 0, position)[1][0, 0]) for position in range(400)]
    counts = np.bincount(corners, minlength=4)
    assert counts.min() > 60, counts  # each of four combinations about 100 times


DEEP = Pixels("native", 5, "uint16", [1000.0] * 5, [300.0] * 5)
FLOAT = Pixels("native", 1, "float32", [0.0], [1.0])


@pytest.mark.parametrize("pixels", [DEEP, FLOAT], ids=["uint16", "float32"])
@pytest.mark.parametrize(
    "transform",
    [A.RandomBrightnessContrast(), A.GaussNoise(), A.RandomGamma(), A.InvertImg(), FastColorJitter()],
    ids=lambda transform: type(transform).__name__,
)
def test_a_transform_that_counts_on_a_range_is_refused_where_values_have_their_own(transform, pixels):
    with pytest.raises(ValueError, match=rf"augment: {type(transform).__name__} .*(\d bands of|does not give a)"):
        Augment([transform], pixels=pixels)


def test_a_transform_that_scales_with_the_values_is_taken():
    for pixels in (DEEP, FLOAT):
        Augment([A.Blur(), A.ChannelShuffle()], pixels=pixels)
    Augment([A.GaussianBlur()], pixels=DEEP)
    with pytest.raises(ValueError, match="GaussianBlur takes pixel values to lie in a fixed range"):
        Augment([A.GaussianBlur()], pixels=FLOAT)  # it goes through 8 bits


@pytest.mark.parametrize("bands", [1, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "transform", [A.HorizontalFlip(), A.Affine(rotate=20), A.RandomCrop(20, 20), A.D4()], ids=lambda t: type(t).__name__
)
def test_geometry_works_on_any_bands_and_depth(transform, bands, dtype):
    transform.p = 1.0
    augment = Augment([transform], pixels=Pixels("native", bands, dtype, [100.0] * bands, [10.0] * bands))
    image = np.repeat(picture(0, 40, 50)[..., :1], bands, axis=2).astype(dtype)
    new, mask = augment(image, np.zeros((40, 50), np.uint8), 0, 0)
    assert new.dtype == dtype
    assert new.shape == (*mask.shape, bands)


def test_colour_jitter_of_bands_names_the_transform_to_take():
    with pytest.raises(ValueError, match=r"FastColorJitter fails on an image of 5 bands of uint8.*BandJitter"):
        Augment([FastColorJitter()], pixels=Pixels("native", 5))
