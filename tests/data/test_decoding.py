import os
import struct
import subprocess
import sys
import zlib
from functools import partial

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from seg.data.images import read_image, read_mask, read_size
from tests.data.conftest import labels, picture, write_grey_png


def _claim(path, height, width, kind):
    """Write a file whose header claims a size that its few bytes do not have."""
    if kind == "png":
        write_grey_png(path, np.zeros((2, 2), np.uint8), 8)
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "jpg":
        Image.fromarray(picture(0, 8, 8)).save(path)
        data = bytearray(path.read_bytes())
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = struct.pack(">HH", height, width)
    else:
        np.save(path, np.zeros(2, np.uint8))
        data = bytearray(b"\x93NUMPY\x01\x00")
        header = (
            f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({height}, {width}), }}".ljust(117).encode() + b"\n"
        )
        data += struct.pack("<H", len(header)) + header
    path.write_bytes(data)


@pytest.mark.parametrize("read", [read_image, read_size, partial(read_image, channels="native"), read_mask])
@pytest.mark.parametrize("kind", ["png", "jpg", "npy", "tif"])
def test_a_header_of_a_thousand_million_pixels_is_refused_at_once(tmp_path, kind, read):
    path = tmp_path / f"huge.{kind}"
    if kind == "tif":
        tifffile.imwrite(
            path, shape=(40000, 30000), dtype=np.uint8, compression="zlib", data=iter([b"x"]), rowsperstrip=40000
        )
    else:
        _claim(path, 40000, 30000, kind)
    said = "is damaged" if kind == "npy" else r"(40000×30000 pixels|is too large).*SEG_MAX_PIXELS"
    with pytest.raises(ValueError, match=f"huge.*{said}"):
        read(path)


def test_the_limit_can_be_set_in_the_environment(tmp_path):
    Image.fromarray(picture(0, 20, 30)).save(tmp_path / "a.png")
    code = f"from seg.data.images import read_image; print(read_image({str(tmp_path / 'a.png')!r}).shape)"

    def read(limit):
        environment = {**os.environ, "SEG_MAX_PIXELS": limit}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)

    assert "(20, 30, 3)" in read("600").stdout
    assert "SEG_MAX_PIXELS=600 (it is 599)" in read("599").stderr


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95, 0.999])
def test_a_truncated_image_is_refused_and_named(tmp_path, suffix, kept):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(picture(0, 200, 300)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(ValueError, match=rf"cut\.{suffix} .*damaged.*copy or download it again"):
        read_image(path)


def test_a_truncated_mask_an_empty_file_and_a_text_file_are_refused(tmp_path):
    Image.fromarray(labels(0, 90, 90, 7)).save(tmp_path / "m.png")
    data = (tmp_path / "m.png").read_bytes()
    (tmp_path / "m.png").write_bytes(data[:-30])
    with pytest.raises(ValueError, match=r"m\.png.*damaged"):
        read_mask(tmp_path / "m.png")
    (tmp_path / "e.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"e\.png is empty"):
        read_image(tmp_path / "e.png")
    (tmp_path / "t.png").write_text("hello")
    with pytest.raises(ValueError, match=r"t\.png is not an image"):
        read_image(tmp_path / "t.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "nowhere.png")


def test_a_damaged_png_is_never_read_as_if_whole(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture(0, 100, 120)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        read_image(path)


def test_a_png_whose_chunk_claims_gigabytes_is_not_handed_to_a_decoder_that_believes_it(tmp_path, monkeypatch):
    Image.fromarray(picture(0, 100, 120)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[33] = 0x7F  # the length of the first chunk behind the head
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture(0, 100, 120))  # Pillow takes what is there


def test_a_jpeg_with_bytes_behind_its_end_is_read(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(picture(0, 50, 60)).save(path)
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + b"\0" * 20)
    np.testing.assert_array_equal(read_image(path), expected)
