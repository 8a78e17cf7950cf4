import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seg.data import statistics
from seg.data.dataset import Pair, Reader
from seg.data.pixels import Pixels
from seg.data.statistics import pixel_statistics


def write(folder, images):
    """Write images as .npy; the masks are never looked at."""
    pairs = []
    for number, image in enumerate(images):
        np.save(folder / f"{number}.npy", image)
        pairs.append(Pair(str(number), str(folder / f"{number}.npy"), str(folder / f"{number}.npy")))
    return pairs


def native():
    reader = Reader()
    reader.channels = "native"
    return reader


def compute(folder, images, percentiles=None, clip=None):
    pixels = Pixels("native", images[0].shape[2], str(images[0].dtype), source="first")
    return pixel_statistics(write(folder, images), native(), pixels, folder, percentiles, clip)


def reference(images, percentiles=None, clip=None):
    """Compute in float64 from all pixels at once."""
    mean, std, clips = [], [], []
    for band in range(images[0].shape[2]):
        values = np.concatenate([image[..., band].ravel() for image in images])
        values = values[np.isfinite(values)]
        if percentiles is not None:
            clips.append([float(np.percentile(values, share, method="inverted_cdf")) for share in percentiles])
        elif clip is not None:
            clips.append(clip[band])
        values = values.astype(np.float64)
        values = values.clip(*clips[-1]) if clips else values
        mean.append(values.mean())
        std.append(values.std())
    return mean, std, clips or None


SIZES = [(20, 31), (7, 9), (40, 3)]


def draw(dtype):
    generator = np.random.default_rng(5)
    if dtype == np.uint8:
        return [generator.integers(0, 256, (*size, 3), dtype=dtype) for size in SIZES]
    if dtype == np.uint16:
        return [generator.gamma(2, 700, (*size, 5)).clip(0, 65535).astype(dtype) for size in SIZES]
    images = [
        generator.normal(3e4, 1, (*size, 4)).astype(dtype) * np.array([1, -1, 1e-30, 1e30], dtype) for size in SIZES
    ]
    images[0][:5, :4] = np.nan
    images[1][2, 2] = [np.inf, -np.inf, np.nan, 0]
    images[2][..., 1] = np.nan  # a band without any value in one image
    return images


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("percentiles", [None, (0.5, 99.5), (2, 80), (0, 100)])
def test_statistics_equal_those_of_all_pixels_at_once(tmp_path, dtype, percentiles):
    images = draw(dtype)
    found = compute(tmp_path, images, percentiles)
    mean, std, clip = reference(images, percentiles)
    assert found.clip == clip
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.std, std, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_values_beyond_a_typed_range_are_cut_off_before_anything_is_computed(tmp_path, dtype):
    images = [image.astype(dtype) for image in draw(np.uint16)]
    clip = [[100.0, 900.0 + band] for band in range(5)]
    found = compute(tmp_path, images, clip=clip)
    mean, std, _ = reference(images, clip=clip)
    assert found.clip == clip
    np.testing.assert_allclose([found.mean, found.std], [mean, std], rtol=1e-12)


@given(arrays.arrays(np.float32, (3, 4, 1), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_percentiles_of_any_floats_are_exact(tmp_path_factory, image):
    folder = tmp_path_factory.getbasetemp() / "floats"
    folder.mkdir(exist_ok=True)
    np.save(folder / "a.npy", image)
    split = statistics._Split([Pair("a", str(folder / "a.npy"), "")], native(), Pixels("native", 1, "float32"))
    found = statistics._float_percentiles(split, (0, 10, 50, 90, 100))
    expected = [float(np.percentile(image, share, method="inverted_cdf")) for share in (0, 10, 50, 90, 100)]
    assert found == [expected]


def test_images_are_read_once_and_anew_where_one_has_changed(tmp_path, monkeypatch):
    images = draw(np.uint16)
    first = compute(tmp_path, images, (1, 99))
    pairs = write(tmp_path, images)
    reads = []
    monkeypatch.setattr(Reader, "image", lambda self, pair: reads.append(pair.id) or np.load(pair.image))
    pixels = Pixels("native", 5, "uint16")
    assert pixel_statistics(pairs, native(), pixels, tmp_path, (1, 99)).mean == pytest.approx(first.mean)
    reads.clear()
    assert pixel_statistics(pairs, native(), pixels, tmp_path, (1, 99)).mean == pytest.approx(first.mean)
    assert reads == []
    np.save(tmp_path / "0.npy", images[0][:-1] * 2)
    assert pixel_statistics(pairs, native(), pixels, tmp_path, (1, 99)).mean != pytest.approx(first.mean)
    assert reads == ["0", "1", "2"]


def test_a_band_of_one_value_is_shifted_and_not_divided_by_nothing(tmp_path, caplog):
    image = draw(np.uint8)[0]
    image[..., 1] = 255
    with caplog.at_level(logging.WARNING):
        found = compute(tmp_path, [image])
    assert (found.mean[1], found.std[1]) == (255, 1)
    assert "band 1 has one value" in caplog.text


def test_an_image_of_another_kind_names_both_files(tmp_path):
    images = draw(np.uint16)
    with pytest.raises(ValueError, match=r"1\.npy has 4 bands of uint16, but first has 5 of uint16"):
        compute(tmp_path, [images[0], images[1][..., :4]])
    with pytest.raises(ValueError, match=r"1\.npy has 5 bands of uint8, but first has 5 of uint16"):
        compute(tmp_path, [images[0], images[1].astype(np.uint8)])


def test_a_band_without_any_value_is_refused(tmp_path):
    image = np.ones((4, 5, 2), np.float32)
    image[..., 1] = np.nan
    for percentiles in (None, (1, 99)):
        with pytest.raises(ValueError, match=r"bands \[1\] have no value"):
            compute(tmp_path, [image], percentiles)
