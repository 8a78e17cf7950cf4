"""PNG files, written in a fraction of the time that picture libraries take: most rows of masks repeat the one above."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from seg.files import replacing

_START = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOR, _INDEXED, _UP = 0, 2, 3, 2  # colour types and filter type of the PNG standard
_BAND = 32  # rows at a time: what stays in the processor's cache from the subtraction to the compression


def write_grey(path: str | Path, mask: np.ndarray) -> None:
    """Write a mask as a grey PNG of 8 bits, whole or not at all; the same mask gives the same bytes.

    Args:
        path: file to write, ending in .png.
        mask: uint8 (H, W).

    """
    assert mask.dtype == np.uint8, mask.dtype
    height, width = mask.shape
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(_START + _head(height, width, _GREY))
        for squeezed in _squeezed(_parts(mask), width):
            file.write(_chunk(b"IDAT", squeezed))
        file.write(_chunk(b"IEND"))


def write_color(path: str | Path, bands: Iterable[np.ndarray], height: int, width: int) -> None:
    """Write a colour picture as a PNG, band by band, so that it need not be in memory as a whole.

    Args:
        path: file to write, ending in .png.
        bands: uint8 (rows, W, 3), from top to bottom.
        height: rows in all.
        width: of the picture.

    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.writelines(color_chunks(bands, height, width))


def color_chunks(bands: Iterable[np.ndarray], height: int, width: int) -> Iterator[bytes]:
    """Yield the bytes of a colour PNG as they come about, see `write_color`."""
    yield _START + _head(height, width, _COLOR)
    for squeezed in _squeezed((band.reshape(len(band), 3 * width) for band in bands), 3 * width):
        yield _chunk(b"IDAT", squeezed)
    yield _chunk(b"IEND")


def write_palette(path: str | Path, mask: np.ndarray, palette: Sequence[int]) -> None:
    """Write a mask as an indexed PNG, without a copy of it in memory and in half of Pillow's time.

    Args:
        path: file to write, ending in .png.
        mask: uint8 (H, W).
        palette: red, green and blue of every value, 768 numbers.

    """
    assert mask.dtype == np.uint8, mask.dtype
    height, width = mask.shape
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(_START + _head(height, width, _INDEXED) + _chunk(b"PLTE", bytes(palette)))
        for squeezed in _squeezed(_parts(mask), width):
            file.write(_chunk(b"IDAT", squeezed))
        file.write(_chunk(b"IEND"))


def encode_grey(mask: np.ndarray) -> bytes:
    """Return the bytes of a grey PNG of 8 bits."""
    assert mask.dtype == np.uint8, mask.dtype
    height, width = mask.shape
    squeezed = b"".join(_squeezed([mask], width))
    return _START + _head(height, width, _GREY) + _chunk(b"IDAT", squeezed) + _chunk(b"IEND")


def _parts(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of a mask, 1024 at a time."""
    for top in range(0, len(mask), 1024):
        yield mask[top : top + 1024]


def _squeezed(pictures: Iterable[np.ndarray], length: int) -> Iterator[bytes]:
    """Yield the compressed rows of pictures uint8 (h, length) that lie under each other.

    Each row is stored as its difference to the one above, which is zero nearly everywhere in masks; run lengths then
    compress such rows as well as zlib's searching does, in a fraction of the time.
    """
    squeeze = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    rows, above = np.full((_BAND, 1 + length), _UP, np.uint8), np.zeros(length, np.uint8)
    for picture in pictures:
        squeezed = []
        for top in range(0, len(picture), _BAND):
            band = picture[top : top + _BAND]
            np.subtract(band[0], above, out=rows[0, 1:])
            np.subtract(band[1:], band[:-1], out=rows[1 : len(band), 1:])
            squeezed.append(squeeze.compress(rows[: len(band)].data))
            above = band[-1]
        yield b"".join(squeezed)
    yield squeeze.flush()


def _head(height: int, width: int, color: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
