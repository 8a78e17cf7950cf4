"""What all readers share: bytes, the one limit on size, the two decoders of pictures, and the errors they end in.

OpenCV, the faster decoder, reads the plain JPEG and PNG files that data sets are made of; Pillow reads everything else.
OpenCV alone would not do: it fills truncated files with grey, expands palettes to colours and has its own idea of CMYK.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

Result = TypeVar("Result")

MAX_PIXELS = int(os.environ.get("SEG_MAX_PIXELS") or 2**28)
"""Pixels that an image may have, 16384² unless the environment variable SEG_MAX_PIXELS says otherwise."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # one limit for all readers; Pillow's own would warn of a Sentinel-2 tile

ORIENTATION = 0x0112  # the EXIF tag; 1 is upright, 5 to 8 swap height and width
GREY, RGB, RGBA = 0, 2, 6  # colour types of the PNG standard
DAMAGED = "is damaged or incomplete ({error}); copy or download it again, or take it out of the list"
HUGE = "is too large ({error}); the environment variable SEG_MAX_PIXELS sets the limit"
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def read_bytes(path: str | Path) -> bytes:
    """Return what a file holds."""
    with open(path, "rb") as file:
        return file.read()


def check_size(path: str | Path, height: int, width: int, bands: int = 1) -> None:
    """Refuse an image without pixels, or with more than the limit, before memory is asked for; 4 bands count as one.

    Raises:
        ValueError: naming the file, its size, and how to raise the limit.

    """
    if min(height, width, bands) < 1:
        raise ValueError(f"{path} " + DAMAGED.format(error=f"{height}×{width} pixels in {bands} bands by its header"))
    pixels = height * width * max(1, -(-bands // 4))
    if pixels > MAX_PIXELS:
        raise ValueError(
            f"{path} has {height}×{width} pixels in {bands} bands by its header, more than is read: it is damaged, or "
            f"has to be cut into parts. To read it whole, set the environment variable SEG_MAX_PIXELS={pixels} "
            f"(it is {MAX_PIXELS})"
        )


def open_picture(path: str | Path, data: bytes) -> Image.Image:
    """Open a file with Pillow, its pixels not decoded yet.

    Raises:
        ValueError: not an image, damaged, or larger than the limit.

    """
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        what = "is empty" if not data else "is not an image that can be read"
        raise ValueError(f"{path} {what}; replace it, or take it out of the list") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} " + HUGE.format(error=error)) from error
    except PILLOW_ERRORS as error:
        raise ValueError(f"{path} " + DAMAGED.format(error=error)) from error
    check_size(path, image.height, image.width)
    return image


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Tell whether an opened picture has more than 8 bits a channel; Pillow would drop what is more in silence."""
    if image.format == "PNG":
        return data[24] > 8
    deep = image.mode not in _EIGHT_BIT
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        return deep or max(bits if isinstance(bits, tuple) else (bits,), default=8) > 8
    return deep


def samples(image: Image.Image) -> int:
    """Return the number of bands in an opened picture's file; Pillow leaves some of a TIFF's out in silence."""
    if image.format != "TIFF":
        return len(image.getbands())
    return int(image.tag_v2.get(277, 1))  # type: ignore[attr-defined]


def decode(path: str | Path, data: bytes, flags: int) -> np.ndarray | None:
    """Decode a plain JPEG or PNG with OpenCV; None where it cannot, for Pillow to say what is wrong."""
    check_size(path, *(_png_size(data) if data.startswith(_PNG_START) else jpeg_size(data) or (1, 1)))
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # past a limit of its own, or of memory
        return None
    return None if decoded is None else np.asarray(decoded)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width of a JPEG whose pixels OpenCV gives exactly, None for all other files.

    Such a file is whole, grey or RGB, and says nothing about orientation or colours.
    """
    if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
        return None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):  # start of frame: precision, height, width, channels
            height, width = (int.from_bytes(data[start : start + 2], "big") for start in (position + 5, position + 7))
            return (height, width) if data[position + 4] == 8 and data[position + 9] in (1, 3) else None
        if marker in (0xE1, 0xEE):  # EXIF or XMP; Adobe's colour transform
            return None
        position += 2 + length
    return None


def plain_png_color(data: bytes, bits: int = 8) -> int | None:
    """Return the colour type of a PNG that OpenCV reads exactly: whole, nothing clear, no orientation."""
    if not (len(data) > 32 and data.startswith(_PNG_START) and data.endswith(_PNG_END)) or data[24] != bits:
        return None
    if not _chunks_fit(data):
        return None
    head = data[: data.find(b"IDAT")]
    return None if b"tRNS" in head or b"eXIf" in data or b"exif" in head else data[25]


def _chunks_fit(data: bytes) -> bool:
    """Tell whether a PNG's chunks end with the file: for one that claims more OpenCV asks for gigabytes."""
    position = len(_PNG_START)
    while position < len(data):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return position == len(data)


def _png_size(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def told(path: str | Path, read: Callable[[], Result]) -> Result:
    """Call what reads a file with a library that raises whatever it likes on a damaged one.

    Raises:
        ValueError: naming the file.

    """
    try:
        return read()
    except FileNotFoundError:
        raise
    except Exception as error:  # IndexError, struct.error, zlib.error, TiffFileError, MemoryError, …
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path} " + DAMAGED.format(error=str(error) or type(error).__name__)) from error
