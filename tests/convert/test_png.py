import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from seg.convert.png import encode_grey, write_color, write_grey, write_palette
from seg.data.images import read_mask


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=70)))
def test_pillow_and_opencv_read_the_same_mask_back(mask):
    data = encode_grey(mask)
    image = Image.open(io.BytesIO(data))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.array(image), mask)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), mask)


def test_a_written_mask_is_read_by_the_one_reader_and_is_the_same_file_again(tmp_path):
    mask = np.kron(np.random.default_rng(0).integers(0, 256, (20, 30)), np.ones((9, 11))).astype(np.uint8)
    write_grey(tmp_path / "new/a.png", mask)
    write_grey(tmp_path / "b.png", np.asfortranarray(mask))
    np.testing.assert_array_equal(read_mask(tmp_path / "new/a.png"), mask)
    assert (tmp_path / "new/a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len((tmp_path / "b.png").read_bytes()) < mask.size / 20


def test_a_mask_that_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_grey(path, np.full((2, 2), 7, np.uint8))

    def full(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("seg.convert.png._chunk", full)
    with pytest.raises(OSError, match="disk full"):
        write_grey(path, np.zeros((2, 2), np.uint8))
    assert (read_mask(path) == 7).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (1030, 3)])
def test_indexed_and_colour_pictures_come_back_as_they_were(tmp_path, size):
    generator = np.random.default_rng(0)
    mask = generator.integers(0, 255, size, dtype=np.uint8)
    palette = generator.integers(0, 256, 768).tolist()
    write_palette(tmp_path / "mask.png", mask, palette)
    read = Image.open(tmp_path / "mask.png")
    assert read.mode == "P"
    assert read.getpalette() == palette
    np.testing.assert_array_equal(np.array(read), mask)

    picture = generator.integers(0, 255, (*size, 3), dtype=np.uint8)
    bands = (picture[top : top + 40] for top in range(0, size[0], 40))
    write_color(tmp_path / "picture.png", bands, *size)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "picture.png")), picture)


def test_a_picture_whose_rows_fail_leaves_nothing(tmp_path):
    def bands():
        yield np.zeros((2, 3, 3), np.uint8)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_color(tmp_path / "picture.png", bands(), 9, 3)
    assert not list(tmp_path.iterdir())
