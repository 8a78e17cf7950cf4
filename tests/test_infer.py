import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import seg
from seg.infer import Predictor, enlarged, free_memory
from seg.models.blocks import upsample
from tests.command import run, write_config


class Colours:
    """Give the colour channels themselves as logits, and note what sizes were asked for."""

    def __init__(self, **facts):
        self.class_names = ["red", "green", "blue"]
        self.class_colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
        self.image_kind = ["rgb", "uint8"]
        self.mean, self.std, self.clip, self.resize = [0.0] * 3, [1.0] * 3, None, None
        self.ignore_index = 255
        self.device = torch.device("cpu")
        self.sizes = []
        for name, value in facts.items():
            setattr(self, name, value)

    def __call__(self, images):
        self.sizes.append(tuple(images.shape[-2:]))
        return images.float() / 64


def picture(height=70, width=90, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, shapes) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run("--config", write_config(folder / "tiny.yaml", shapes, max_epochs=1, default_root_dir=str(folder / "runs")))
    return folder / "runs/tiny/version_0/checkpoints/best.ckpt"


def test_three_lines_predict_a_file_or_an_array(workplace, checkpoint):
    Image.fromarray(picture()).save("photo.png")
    labels, probabilities = seg.load(checkpoint).predict("photo.png")
    assert labels.shape == (70, 90)
    assert labels.dtype == np.uint8
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(0), labels)
    again = seg.load(str(checkpoint), device="cpu").predict(picture())
    np.testing.assert_array_equal(again.labels, labels)


def test_importing_seg_imports_no_torch():
    code = "import seg, sys; assert 'torch' not in sys.modules; seg.load; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_seg_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'lod'"):
        seg.lod  # noqa: B018


def test_probabilities_are_those_of_numpy_in_float64():
    image = picture()
    labels, probabilities = Predictor(Colours()).predict(image)
    powers = np.exp(image.transpose(2, 0, 1).astype(np.float64) / 64)
    np.testing.assert_allclose(probabilities, powers / powers.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(labels, image.argmax(2))


@pytest.mark.parametrize("options", [{"tile": 64}, {"tile": 64, "batch_size": 3}, {"flips": "flips"}, {"whole": True}])
@pytest.mark.parametrize("size", [(200, 333), (1, 1), (400, 3), (33, 31)])
def test_how_an_image_is_cut_or_turned_makes_no_difference_to_a_network_that_looks_at_pixels(options, size):
    image = picture(*size)
    found = Predictor(Colours(), **options).predict(image)
    expected = Predictor(Colours()).predict(image)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-6)


def test_images_are_padded_to_what_networks_need_after_they_are_flipped():
    network = Colours()
    Predictor(network, flips="horizontal").predict(picture(5, 40))
    assert network.sizes == [(32, 40)] * 2


def test_large_images_are_cut_where_memory_is_short(monkeypatch):
    image = picture(600, 700)
    for free, sizes in ((2e4 * 600 * 700, [(600, 700)]), (1e6, [(512, 512), (512, 540), (536, 512), (536, 540)])):
        monkeypatch.setattr("seg.infer.free_memory", lambda device, free=free: free)
        network = Colours()
        Predictor(network).labels(image)
        assert network.sizes == sizes
        for options, number in (({"whole": True}, 1), ({"tile": 256}, 12)):
            network = Colours()
            Predictor(network, **options).labels(image)
            assert len(network.sizes) == number


def test_when_the_memory_of_a_device_does_not_do_the_image_is_cut():
    class Small(Colours):
        def __call__(self, images):
            if images.shape[-1] > 600:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().__call__(images)

    image = picture(520, 1000)
    np.testing.assert_array_equal(Predictor(Small()).labels(image), image.argmax(2))
    with pytest.raises(torch.OutOfMemoryError):
        Predictor(Small(), whole=True).labels(image)


def test_an_image_that_was_cut_once_is_cut_again_and_noted(monkeypatch):
    free = [1e6, 1e12]
    monkeypatch.setattr("seg.infer.free_memory", lambda device: free.pop(0))
    network = Colours()
    predictor = Predictor(network)
    for _ in range(2):
        predictor.labels(picture(520, 600))
    assert (520, 600) not in network.sizes
    assert predictor.too_large == {(520, 600)}


def test_views_of_other_scales_count_when_images_are_cut(monkeypatch):
    monkeypatch.setattr("seg.infer.free_memory", lambda device: 3 * 4096 * 600 * 600)
    for scales, cut in (((1.0,), False), ((0.5,), False), ((0.5, 1.25), True), ((2.0,), True)):
        predictor = Predictor(Colours(), scales=scales)
        assert predictor.whole((600, 600)) != cut
        assert predictor.whole((512, 512))


def test_tiles_are_refused_where_every_image_is_resized():
    network = Colours(resize=[32, 40])
    with pytest.raises(ValueError, match=r"--tile 64: the network was trained on images resized to 32×40"):
        Predictor(network, tile=64)
    Predictor(network, whole=True).labels(picture())


def test_free_memory_is_told():
    assert free_memory(torch.device("cpu")) > 1e6


def test_what_torch_keeps_of_earlier_images_on_a_gpu_is_free(monkeypatch):
    for kept in (0, 7e9):  # the same GPU before and after an image: its driver knows nothing of what torch would reuse
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, kept=kept: (int(9e9 - kept), int(10e9)))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device, kept=kept: int(1e9 + kept))
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: int(1e9))
        assert free_memory(torch.device("cuda", 0)) == 9e9


def test_threads_that_ask_at_once_are_told_what_one_is_told(checkpoint):
    predictor = seg.load(checkpoint, "cpu", tile=64, overlap=0.5)
    images = [picture(80 + 7 * seed, 120 - 5 * seed, seed) for seed in range(8)]
    expected = [predictor.labels(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for found, labels in zip(pool.map(predictor.labels, images), expected, strict=True):
            np.testing.assert_array_equal(found, labels)


def test_gradients_are_on_again_between_the_rows_of_an_image():
    answers = Predictor(Colours(), tile=64).answers(picture(200, 60))
    next(answers)
    assert not torch.is_inference_mode_enabled()


def test_logits_of_resized_images_come_back_to_the_image_as_evaluation_brings_them():
    image = picture(90, 130)
    network = Colours(resize=[32, 40])
    found = Predictor(network).predict(image)
    assert network.sizes == [(32, 40)]
    import cv2

    small = cv2.resize(image, (40, 32), interpolation=cv2.INTER_AREA)
    logits = F.interpolate(torch.from_numpy(small).permute(2, 0, 1)[None] / 64, (90, 130), mode="bilinear")
    np.testing.assert_allclose(found.probabilities, logits[0].softmax(0).numpy(), atol=1e-5)


def test_logits_are_enlarged_by_some_rows_as_they_are_all_at_once(monkeypatch):
    scores = torch.randn(3, 21, 34, generator=torch.Generator().manual_seed(0))
    whole = upsample(scores[None], (100, 77))[0]
    monkeypatch.setattr("seg.infer._CHUNK", 3 * 77 * 7)
    monkeypatch.setattr("seg.infer._AT_ONCE", 3 * 77 * 99)
    bands = list(enlarged(scores, (100, 77)))
    assert [band.top for band in bands] == list(range(0, 100, 7))
    torch.testing.assert_close(torch.cat([band.scores for band in bands], 1), whole)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), "4 bands of uint8, but the network takes 3 of uint8"),
        (np.zeros((4, 4, 3), np.float32), "3 bands of float32"),
        (np.zeros((0, 4, 3), np.uint8), "1 pixel or more"),
        (np.zeros(7, np.uint8), "shape"),
    ],
)
def test_arrays_of_another_kind_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        Predictor(Colours()).predict(image)


def test_an_array_of_floats_is_filled_in_without_being_changed():
    image = np.full((40, 50, 3), np.nan, np.float32)
    image[:20] = 3.0
    network = Colours(image_kind=["native", "float32"], mean=[1.0, 2.0, 64.0])
    labels = Predictor(network).labels(image)
    assert (labels[20:] == 2).all()  # the mean
    assert np.isnan(image[20:]).all()


def test_sixteen_bit_images_are_averaged_and_cut_like_others():
    image = np.random.default_rng(0).integers(0, 60000, (150, 170, 3)).astype(np.uint16)
    network = Colours(image_kind=["native", "uint16"])
    expected = image.argmax(2)
    for options in ({}, {"tile": 64}, {"tile": 64, "flips": "flips"}):
        np.testing.assert_array_equal(Predictor(network, **options).labels(image), expected)
    Predictor(network, scales=(0.5, 1)).labels(image)


def test_whole_and_tiles_at_once_are_refused():
    with pytest.raises(ValueError, match="--whole and --tile 64"):
        Predictor(Colours(), tile=64, whole=True)
