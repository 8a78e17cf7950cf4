import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from seg.convert.png import encode_grey, write_grey
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

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="disk full"):
        write_grey(path, np.zeros((2, 2), np.uint8))
    assert (read_mask(path) == 7).all()
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
