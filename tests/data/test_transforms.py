import albumentations as A
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.data.augment import Augment
from seg.data.pixels import Pixels
from seg.data.transforms import BandJitter, FastColorJitter, RandomScaleCrop, color_matrix, default_augmentation
from tests.data.conftest import labels, picture


def coordinates(height: int, width: int) -> np.ndarray:
    """Return a picture whose red is the row and whose green is the column, so that places can be read off."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    return image


@pytest.mark.parametrize("size", [(120, 160), (40, 50), (200, 40), (1, 1)])
@pytest.mark.parametrize("crop", [(64, 80), (97, 33), (1, 1)])
def test_scale_and_crop_give_the_wanted_size_and_pad_masks_with_255(size, crop):
    augment = Augment([RandomScaleCrop(*crop)])
    mask = np.full(size, 7, np.uint8)
    seen = set()
    for position in range(30):
        image, new = augment(np.full((*size, 3), 90, np.uint8), mask, 0, position)
        assert image.shape == (*crop, 3)
        assert new.shape == crop
        seen |= set(np.unique(new).tolist())
        np.testing.assert_array_equal(image[new == 255], np.broadcast_to((124, 116, 104), ((new == 255).sum(), 3)))
        np.testing.assert_array_equal(image[new == 7], 90)
    assert seen <= {7, 255}


def test_image_and_mask_show_the_same_place_after_scaling():
    image = coordinates(120, 160)
    mask = image[..., 1].copy()  # the mask holds the column
    mask[mask >= 255] = 254
    augment = Augment([RandomScaleCrop(60, 80)])
    for position in range(40):
        new, new_mask = augment(image, mask, 0, position)
        inside = new_mask != 255
        assert np.abs(new[..., 1].astype(int) - new_mask)[inside].max() <= 2


def test_scale_one_is_a_plain_crop():
    image, mask = picture(0, 50, 60), labels(0, 50, 60, 5)
    augment = Augment([RandomScaleCrop(30, 20, scale=(1.0, 1.0))])
    for position in range(10):
        new, new_mask = augment(image, mask, 0, position)
        places = [
            (row, column)
            for row in range(21)
            for column in range(41)
            if np.array_equal(image[row : row + 30, column : column + 20], new)
        ]
        assert len(places) == 1
        row, column = places[0]
        np.testing.assert_array_equal(mask[row : row + 30, column : column + 20], new_mask)


def test_halving_and_doubling_are_equally_likely():
    transform = RandomScaleCrop(100, 100)
    augment = Augment([transform])
    shares = []
    for position in range(400):
        _, mask = augment(np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), np.uint8), 0, position)
        shares.append(bool((mask == 255).any()))
    assert 0.43 < np.mean(shares) < 0.57


def test_wrong_settings_of_the_own_transforms_are_refused():
    with pytest.raises(ValueError, match="crop: 0×5"):
        RandomScaleCrop(0, 5)
    with pytest.raises(ValueError, match="scale"):
        RandomScaleCrop(5, 5, scale=(2.0, 1.0))
    with pytest.raises(ValueError, match="hue"):
        FastColorJitter(hue=0.7)


def test_the_colour_matrix_equals_the_four_changes_done_one_after_another():
    image = picture(1, 9, 11).astype(np.float64)
    brightness, contrast, saturation, hue = 1.1, 0.8, 1.3, 0.05
    # Independent: rotate around the grey axis by its definition in an orthonormal frame.
    grey = np.ones(3) / np.sqrt(3)
    first = np.array([1, -1, 0]) / np.sqrt(2)
    frame = np.stack([grey, first, np.cross(grey, first)])
    angle = 2 * np.pi * hue
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    expected = image @ (frame.T @ turn @ frame).T
    luma = (expected * [0.299, 0.587, 0.114]).sum(-1, keepdims=True)
    expected = luma + saturation * (expected - luma)
    expected = (expected * brightness - 127.5) * contrast + 127.5
    matrix = color_matrix(brightness, contrast, saturation, hue).astype(np.float64)
    np.testing.assert_allclose(image @ matrix[:, :3].T + matrix[:, 3], expected, atol=1e-3)
    np.testing.assert_array_equal(color_matrix(1, 1, 1, 0), np.eye(3, 4, dtype=np.float32))


def test_jitter_leaves_masks_alone_and_stays_within_8_bits():
    mask = labels(0, 30, 40, 5)
    augment = Augment([FastColorJitter(brightness=1.0, contrast=1.0)])
    for position in range(10):
        image, new = augment(picture(0, 30, 40), mask, 0, position)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(new, mask)


def test_grey_stays_grey_under_hue_and_saturation():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    augment = Augment([FastColorJitter(brightness=0.0, contrast=0.0, saturation=0.9, hue=0.4)])
    image, _ = augment(grey, grey[..., 0], 0, 0)
    assert np.abs(image.astype(int) - grey).max() <= 1


def test_the_default_is_scale_crop_flip_and_jitter():
    kinds = [type(transform) for transform in default_augmentation((4, 5))]
    assert kinds == [RandomScaleCrop, A.HorizontalFlip, FastColorJitter]
    kinds = [type(transform) for transform in default_augmentation((4, 5), rgb=False)]
    assert kinds == [RandomScaleCrop, A.HorizontalFlip, BandJitter]


def kind(bands, dtype):
    """Return what images of a number of bands are, each with its own mean."""
    return Pixels(
        "native", bands, dtype, [50.4 + band for band in range(bands)], [10.0 + band for band in range(bands)]
    )


@pytest.mark.parametrize("bands", [1, 2, 4, 5, 200])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_any_bands_are_scaled_and_padded_with_the_mean_of_the_data(bands, dtype):
    pixels = kind(bands, dtype)
    augment = Augment([RandomScaleCrop(64, 80)], pixels=pixels)
    seen = 0
    for position in range(10):
        image, mask = augment(np.full((40, 50, bands), 30, dtype), np.full((40, 50), 7, np.uint8), 0, position)
        assert image.shape == (64, 80, bands)
        assert image.dtype == dtype
        np.testing.assert_allclose(image[mask == 7], 30, rtol=1e-6)
        fill = np.array(pixels.mean) if dtype == "float32" else np.round(pixels.mean)
        padding = image[mask == 255]
        np.testing.assert_allclose(padding, np.broadcast_to(fill, padding.shape), rtol=1e-6)
        seen += len(padding)
    assert seen


def test_a_typed_fill_is_kept_and_one_of_wrong_length_is_refused():
    image, mask = Augment([RandomScaleCrop(64, 80, fill=[1, 2, 3, 4, 5])], pixels=kind(5, "uint16"))(
        np.full((4, 5, 5), 30, np.uint16), np.zeros((4, 5), np.uint8), 0, 0
    )
    assert (image[mask == 255] == [1, 2, 3, 4, 5]).all()
    with pytest.raises(ValueError, match=r"fill \[1, 2\] must be a number a band, 5 of them"):
        Augment([RandomScaleCrop(640, 800, fill=[1, 2])], pixels=kind(5, "uint16"))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_band_jitter_is_contrast_and_brightness_of_normalised_values(dtype):
    pixels = kind(5, dtype)
    transform = BandJitter(brightness=0.5, contrast=0.4)
    augment = Augment([transform], pixels=pixels)
    image = np.random.default_rng(0).integers(0, 200, (9, 8, 5)).astype(dtype)
    mean, std = np.array(pixels.mean), np.array(pixels.std)
    normal = (image - mean) / std
    shifts = []
    for position in range(20):
        new, mask = augment(image, np.zeros((9, 8), np.uint8), 0, position)
        assert new.dtype == dtype
        assert not mask.any()
        inside = (new > 0) & (new < 255)
        for band in range(5):
            points = inside[..., band]
            slope, shift = np.polyfit(normal[..., band][points], ((new - mean) / std)[..., band][points], 1)
            assert 0.59 < slope < 1.41
            shifts.append(shift)
    assert 0.4 < max(np.abs(shifts)) < 0.52


def test_band_jitter_stays_within_its_type():
    augment = Augment([BandJitter(brightness=5.0)], pixels=kind(2, "uint8"))
    image = np.full((4, 5, 2), [1, 254], np.uint8)
    values = np.stack([augment(image, np.zeros((4, 5), np.uint8), 0, position)[0][0, 0] for position in range(40)])
    assert values[:, 0].min() == 0
    assert values[:, 1].max() == 255


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    scale=st.sampled_from([(0.1, 0.3), (0.5, 2.0), (1.0, 1.0), (3.0, 5.0)]),
    where=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    position=st.integers(0, 5),
)
def test_a_crop_that_must_contain_a_rare_class_does_even_of_a_single_pixel(size, crop, scale, where, position):
    transform = RandomScaleCrop(*crop, scale=scale, rare_labels=[7, 9], rare_share=1.0)
    augment = Augment.__new__(Augment)  # the probing is tested elsewhere and takes its time
    augment.transforms, augment.seed = [transform], 0
    mask = np.zeros(size, np.uint8)
    mask[int(where[0] * size[0]), int(where[1] * size[1])] = 9
    image, new = augment(np.repeat(mask[..., None], 3, 2), mask, 0, position)
    assert image.shape == (*crop, 3)
    assert new.shape == crop
    assert (new == 9).any()
    assert set(np.unique(new)) <= {0, 9, 255}


def test_image_and_mask_show_the_same_place_around_a_rare_class():
    image = coordinates(120, 160)
    mask = np.minimum(image[..., 1], 254)
    augment = Augment([RandomScaleCrop(60, 80, rare_labels=[3, 80, 158], rare_share=1.0)])
    for position in range(40):
        new, new_mask = augment(image, mask, 0, position)
        inside = new_mask != 255
        assert np.abs(new[..., 1].astype(int) - new_mask)[inside].max() <= 2


def test_the_share_of_crops_with_a_rare_class_is_the_one_asked_for_and_its_place_varies():
    mask = np.zeros((200, 300), np.uint8)
    mask[150, 220], mask[20, 20] = 5, 6
    image = np.zeros((200, 300, 3), np.uint8)
    augment = Augment([RandomScaleCrop(20, 20, scale=(1.0, 1.0), rare_labels=[5, 6], rare_share=0.4)])
    crops = [augment(image, mask, 0, position)[1] for position in range(600)]
    found = {label: [np.argwhere(crop == label)[0] for crop in crops if (crop == label).any()] for label in (5, 6)}
    # a crop that is drawn freely contains one of them with a chance of 400 / 50,000 each
    assert (len(found[5]) + len(found[6])) / 600 == pytest.approx(0.41, abs=0.05)
    assert 0.35 < len(found[5]) / (len(found[5]) + len(found[6])) < 0.65
    for places in found.values():
        assert np.std(places, axis=0).min() > 4  # of a uniform place in 20 pixels: 5.8
    plain = Augment([RandomScaleCrop(20, 20, scale=(1.0, 1.0), rare_labels=[8], rare_share=1.0)])
    assert plain(image, mask, 0, 0)[1].shape == (20, 20)  # an image without the class is cropped as always


def test_windows_of_one_class_are_drawn_anew():
    mask = np.zeros((100, 100), np.uint8)
    mask[:, 60:] = 1
    mask[:10] = 255
    image = np.zeros((100, 100, 3), np.uint8)

    def shares(limit):
        augment = Augment([RandomScaleCrop(30, 30, scale=(1.0, 1.0), cat_max_ratio=limit)])
        for position in range(200):
            crop = augment(image, mask, 0, position)[1]
            counts = np.bincount(crop[crop != 255], minlength=2)
            yield counts.max() / counts.sum()

    assert np.mean([share > 0.75 for share in shares(1.0)]) > 0.5
    assert np.mean([share > 0.75 for share in shares(0.75)]) < 0.2  # 10 windows may all fail
    flat = Augment([RandomScaleCrop(30, 30, cat_max_ratio=0.5)])
    assert flat(image, np.full((100, 100), 255, np.uint8), 0, 0)[1].shape == (30, 30)


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"rare_share: 1\.5"):
        RandomScaleCrop(5, 5, rare_share=1.5)
    with pytest.raises(ValueError, match=r"cat_max_ratio: 0\.0"):
        RandomScaleCrop(5, 5, cat_max_ratio=0.0)
