import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from seg import draw
from seg.predict import kinds, visible
from seg.predict.visible import Visible

FACTS = {"mean": [900.0, 1000.0, 1100.0, 7.0], "std": [200.0, 300.0, 400.0, 1.0], "clip": None}


def shown(image: np.ndarray, clip: list[list[float]] | None) -> np.ndarray:
    """Draw an image at once, in float64: normalised, and stretched over all bands that are shown."""
    bands = 1 if image.shape[2] < 3 else 3
    values = image[:, :, :bands].astype(np.float64)
    if clip:
        values = values.clip(*np.array(clip[:bands]).T)
    values = (values - FACTS["mean"][:bands]) / FACTS["std"][:bands]
    finite = values[np.isfinite(values)]
    values = (values - finite.min()) / (finite.max() - finite.min())
    return np.broadcast_to(np.nan_to_num(values, nan=0, posinf=1, neginf=0) * 255, (*image.shape[:2], 3))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("clip", [None, [[100.0, 2000.0]] * 4])
def test_an_image_shown_by_rows_is_the_one_shown_at_once(monkeypatch, channels, dtype, clip):
    image = np.random.default_rng(0).integers(0, 4000, (23, 20, channels)).astype(dtype)
    if dtype == "float32":
        image[3, 4, 0], image[5, 6, 0] = np.nan, np.inf
    for pixels in (1, 60, 1 << 22):
        monkeypatch.setattr(visible, "PIXELS", pixels)
        view = Visible(image, SimpleNamespace(**{**FACTS, "clip": clip}))
        found = np.concatenate([view.rows(rows) for rows in visible.bands(23, 20)])
        assert found.dtype == np.uint8
        np.testing.assert_allclose(found, shown(image, clip), atol=0.51)


def test_images_of_8_bits_are_shown_as_they_are():
    for channels in (1, 3, 4):
        image = np.random.default_rng(0).integers(0, 255, (20, 30, channels), dtype=np.uint8)
        np.testing.assert_array_equal(Visible(image, SimpleNamespace()).rows(slice(3, 9)), draw.rgb(image)[3:9])


def test_an_image_without_a_finite_value_is_shown_black():
    image = np.full((4, 5, 3), np.nan, np.float32)
    assert not Visible(image, SimpleNamespace(**FACTS)).rows(slice(0, 4)).any()


def test_the_memory_of_an_overlay_does_not_grow_with_the_image(tmp_path, monkeypatch):
    monkeypatch.setattr(visible, "PIXELS", 1 << 14)
    peaks = []
    for side in (256, 1024):
        image, labels = np.full((side, side, 3), 1234, np.uint16), np.zeros((side, side), np.uint8)
        view = Visible(image, SimpleNamespace(**FACTS))
        predicted = kinds.Predicted(Path("x.png"), view, labels, ["a"], [[9, 9, 9]])
        tracemalloc.start()
        kinds.write_overlay(tmp_path / "x.png", predicted, kinds.Annotating())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert Image.open(tmp_path / "x.png").size == (side, side)
    assert (peaks[1] - peaks[0]) / (1024**2 - 256**2) < 0.5  # bytes a pixel
