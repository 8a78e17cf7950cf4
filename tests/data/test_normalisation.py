import numpy as np
import pytest
import torch

from seg.data import VOC
from seg.data.dataset import Reader
from seg.data.normalisation import Normalisation
from tests.data.test_statistics import draw, native, reference, write
from tests.test_image_kinds import write_tree
from tests.test_task import Shown, task


def settle(settings, folder, images):
    pairs = write(folder, images)
    return settings.pixels(lambda: pairs, native(), folder)


def test_rgb_without_further_wishes_needs_no_file(tmp_path):
    settings = Normalisation()
    assert not settings.needs_files

    def never():
        raise AssertionError

    pixels = settings.pixels(never, Reader(), tmp_path)
    assert (pixels.bands, pixels.dtype, pixels.clip) == (3, "uint8", None)
    assert list(pixels.mean) == [123.675, 116.28, 103.53]


def test_more_than_eight_bits_are_clipped_by_default_and_eight_are_not(tmp_path):
    images = draw(np.uint16)
    pixels = settle(Normalisation("native"), tmp_path, images)
    mean, std, clip = reference(images, (0.5, 99.5))
    assert (pixels.bands, pixels.dtype, pixels.clip) == (5, "uint16", clip)
    np.testing.assert_allclose([pixels.mean, pixels.std], [mean, std], rtol=1e-12)
    assert settle(Normalisation("native", clip_percentiles=[]), tmp_path, images).clip is None

    images = draw(np.uint8)
    pixels = settle(Normalisation("rgb", stats="auto"), tmp_path, images)
    assert pixels.clip is None
    np.testing.assert_allclose(pixels.mean, reference(images)[0], rtol=1e-12)
    assert settle(Normalisation("rgb", clip_percentiles=[5, 95]), tmp_path, images).mean[0] == 123.675


def test_what_is_typed_by_hand_is_taken(tmp_path):
    images = draw(np.float32)
    typed = {"mean": [1.0, 2.0, 3.0, 4.0], "std": [5.0, 6.0, 7.0, 8.0]}
    pixels = settle(Normalisation("native", **typed), tmp_path, images)
    assert (pixels.mean, pixels.std, pixels.clip) == (typed["mean"], typed["std"], None)
    clip = [[0.0, 9.0]] * 4
    assert settle(Normalisation("native", clip=clip, **typed), tmp_path, images).clip == clip
    with pytest.raises(ValueError, match=r"mean: .* must lie within clip"):
        settle(Normalisation("native", clip=[[0.0, 1.5]] * 4, **typed), tmp_path, images)
    with pytest.raises(ValueError, match=r"mean: \[1\.0\] must have an entry a band, and .*0\.npy has 4"):
        settle(Normalisation("native", mean=[1.0], std=[2.0]), tmp_path, images)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": "native", "stats": "imagenet"}, "stats: imagenet knows 8-bit RGB alone"),
        ({"clip": [[3.0, 1.0]] * 3}, "clip: .* pair"),
        ({"clip": [[0.0, 1.0]] * 3, "clip_percentiles": [1, 99]}, "contradict"),
        ({"clip_percentiles": [99, 1]}, "clip_percentiles: .*within 0..100"),
        ({"clip_percentiles": [5]}, "clip_percentiles"),
        ({"std": [1.0, -1.0, 1.0]}, "std"),
        ({"mean": [1.0]}, "mean"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Normalisation(**settings)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32, torch.float64])
def test_the_task_clips_and_normalises_raw_pixels_of_every_type(dtype):
    generator = np.random.default_rng(0)
    high = 255 if dtype == torch.uint8 else 3000
    raw = generator.integers(0, high, (2, 3, 8, 8)).astype(np.float64)
    net = Shown(torch.zeros(2, 3, 8, 8))
    images = torch.from_numpy(raw).to(dtype)
    if dtype.is_floating_point:
        images[0, 0, 0, 0], images[1, 2, 3, 4] = float("nan"), float("inf")
    task(net, clip=[[50.0, 200.0], [60.0, 180.0], [0.0, 2500.0]])(images)
    lowest, highest, mean, std = (
        np.array(values).reshape(1, 3, 1, 1)
        for values in ([50, 60, 0], [200, 180, 2500], [120, 110, 100], [50, 60, 70])
    )
    expected = (raw.clip(lowest, highest) - mean) / std
    if dtype.is_floating_point:
        expected[0, 0, 0, 0] = expected[1, 2, 3, 4] = 0
    assert net.shown.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(net.shown.double().numpy(), expected, atol=1e-5)


def module(root, **settings):
    data = VOC(str(root), ["a", "b"], channels="native", num_workers=0, batch_size=2, crop=(48, 48), **settings)
    data.setup("fit")
    return data


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_where_float_images_have_no_data_the_input_is_zero_and_the_label_is_ignored(tmp_path, cache):
    root = write_tree(tmp_path / "data", 5, "float32", "tif")
    data = module(root, cache=cache, augment=[])
    for _ in range(2):
        sample = data.datasets["train"][1]
        assert (sample["mask"][:3] == 255).all()
        assert (sample["mask"][3:] != 255).all()  # one band that lacks a value does not hide the label
        mean = torch.tensor(data.mean).float()
        assert torch.equal(sample["image"][:, 0, 0], mean)
        assert sample["image"][0, 5, 5] == mean[0]
        assert sample["image"].isfinite().all()


def test_a_disk_cache_is_made_anew_where_another_value_stands_for_what_is_missing(tmp_path):
    root = write_tree(tmp_path / "data", 5, "float32", "tif")
    for mean in ([1.0] * 5, [2.0] * 5):
        sample = module(root, cache="disk", augment=[], mean=mean, std=[1.0] * 5).datasets["train"][1]
        assert sample["image"][:, 0, 0].tolist() == mean


@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint16"), (4, "uint8"), (7, "float32")])
def test_a_batch_keeps_bands_and_type_through_the_default_augmentation(tmp_path, bands, dtype):
    data = module(write_tree(tmp_path / "data", bands, dtype, "npy"))
    seen = []
    for _ in range(2):
        batch = next(iter(data.train_dataloader()))
        assert batch["image"].shape == (2, bands, 48, 48)
        assert batch["image"].dtype == getattr(torch, dtype)
        assert batch["image"].is_contiguous(memory_format=torch.channels_last) or bands == 1
        seen.append(batch["image"])
    assert torch.equal(*seen)
    assert next(iter(data.val_dataloader()))["image"].shape == (2, bands, 64, 72)
    assert data.in_channels == bands


def test_an_image_of_other_bands_is_refused_with_both_files_named(tmp_path):
    root = write_tree(tmp_path / "data", 4, "uint8", "tif")
    odd = write_tree(tmp_path / "odd", 3, "uint8", "tif")
    (odd / "JPEGImages/val8.tif").replace(root / "JPEGImages/val8.tif")
    with pytest.raises(ValueError, match=r"val8\.tif has 3 bands of uint8, but .*train0\.tif has 4 of uint8"):
        list(module(root).val_dataloader())
