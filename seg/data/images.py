"""The one reader of images and masks: files -> uint8 arrays, upright, checked.

Two decoders give the same pixels: OpenCV, the faster of the two, reads the plain JPEG and PNG files that data sets are
made of; Pillow reads everything else. OpenCV alone would not do: it fills truncated files with grey, expands palettes
to colours and has its own idea of CMYK.
"""

import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from seg.data.classes import IGNORE

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Suffixes that are looked for where a list names a file without one, the likeliest first."""

ORIENTATION = 0x0112  # the EXIF tag; 1 is upright, 5 to 8 swap height and width
_EIGHT_BIT = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_GREY, _RGB = 0, 2  # colour types of the PNG standard
_DAMAGED = "is damaged or incomplete ({error}); copy or download it again, or take it out of the list"


class Size(NamedTuple):
    """Height and width of an image in pixels, upright."""

    height: int
    width: int


def read_image(path: str | Path) -> np.ndarray:
    """Read an image as it is meant to be seen.

    Grey, palette, transparent and CMYK images become RGB; the EXIF orientation is applied here and nowhere else.

    Args:
        path: any file that Pillow can read, with 8 bits a channel.

    Returns:
        uint8 (H, W, 3), red first.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image, truncated, or more than 8 bits a channel.

    """
    data = _bytes(path)
    if _is_plain_jpeg(data) or _plain_png_color(data) in (_GREY, _RGB):
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if decoded is not None:
            return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded))
    image = _open(path, data)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"image {path} " + _DAMAGED.format(error=error)) from error


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask's label values, a palette's indices as they are.

    Args:
        path: an indexed ("P") or grey 8-bit file without loss: PNG, BMP, TIFF, GIF.

    Returns:
        uint8 (H, W), upright like its image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a colour picture, a JPEG, more than 8 bits, truncated, or not an image.

    """
    data = _bytes(path)
    if _plain_png_color(data) == _GREY:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is not None:
            return np.asarray(decoded)
    image = _open(path, data)
    if image.format in ("JPEG", "MPO", "WEBP"):
        raise ValueError(
            f"mask {path} is a {image.format} file, which stores labels inexactly; "
            "save masks as indexed or grey PNG, straight from the tool that drew them"
        )
    if image.mode not in ("P", "L", "1"):
        raise ValueError(
            f"mask {path} is a colour picture (mode {image.mode}); an indexed mask is expected, one label a pixel. "
            "Convert its colours to indices by the data set's palette first (seg/convert/palette.py writes such files)"
        )

    try:
        image.load()
        mask = np.array(ImageOps.exif_transpose(image), dtype=np.uint8)
        # Pillow spreads grey of 2 and 4 bits over 0..255, as a picture wants it and labels do not.
        spread = {2: 85, 4: 17}.get(data[24], 1) if image.format == "PNG" and image.mode == "L" else 1
        return mask // np.uint8(spread)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"mask {path} " + _DAMAGED.format(error=error)) from error


def read_size(path: str | Path) -> Size:
    """Read an image's upright height and width from the head of its file, without decoding it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image.

    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.format == "TIFF":  # Pillow turns these itself, and gives the upright size
                return Size(height, width)
            # Asking a PNG without EXIF for it decodes the whole file, in search of a chunk behind the pixels.
            turned = (image.format != "PNG" or "exif" in image.info) and image.getexif().get(ORIENTATION, 1) >= 5
            return Size(width, height) if turned else Size(height, width)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"image {path} " + _DAMAGED.format(error=error)) from error


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a uint8 (H, W, N) image at another (height, width): averaged where it shrinks, linear where it grows."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a uint8 (H, W) mask at another (height, width), every label from the pixel at the same place."""
    height, width = size
    if mask.shape == (height, width):
        return mask
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


class Labels:
    """Map the values in mask files to classes, and refuse what is neither a class nor 255.

    Args:
        num_classes: length of the class list.
        label_map: file value -> class or 255; values that it does not name keep their meaning.

    Raises:
        ValueError: the map names something that is not a value, or leads to a class that is not there.

    """

    def __init__(self, num_classes: int, label_map: dict[int, int] | None = None) -> None:
        self.num_classes = num_classes
        self.label_map = {int(value): int(label) for value, label in (label_map or {}).items()}
        for value, label in self.label_map.items():
            if not 0 <= value <= 255 or not (0 <= label < num_classes or label == IGNORE):
                raise ValueError(
                    f"label_map: {value} -> {label} leads nowhere; it takes values 0..255 to classes "
                    f"0..{num_classes - 1}, or to {IGNORE} for ignore"
                )
        table = np.arange(256)
        for value, label in self.label_map.items():
            table[value] = label
        self._table = table.astype(np.uint8)
        # Where values are only ever mapped to 255, comparing and "or" are 6 times faster than a table.
        only_ignored = len(self.label_map) <= 4 and set(self.label_map.values()) <= {IGNORE}
        self._ignored = sorted(self.label_map) if only_ignored else None

    def apply(self, mask: np.ndarray, path: str | Path) -> np.ndarray:
        """Return a mask's classes.

        Args:
            mask: uint8 (H, W) as read from `path`.
            path: named in the error.

        Raises:
            ValueError: naming the file and every bad value with its number of pixels.

        """
        # A value that is mapped away cannot be bad, and one that stays is checked below like any other.
        if self._ignored is None:
            mask = np.asarray(cv2.LUT(mask, self._table))
        else:
            for value in self._ignored:
                mask = np.asarray(cv2.bitwise_or(mask, cv2.compare(mask, value, cv2.CMP_EQ)))
        # 255 wraps round to 0, so that one maximum tells: 10 times faster than counting values.
        if int(np.add(mask, 1, dtype=np.uint8).max(initial=0)) <= self.num_classes:
            return mask
        counts = np.bincount(mask.ravel(), minlength=256)
        bad = [value for value in np.flatnonzero(counts) if self.num_classes <= value != IGNORE]
        listed = ", ".join(f"{value} ({counts[value]} pixels)" for value in bad[:8]) + (", …" if len(bad) > 8 else "")
        raise ValueError(
            f"mask {path} holds label {listed}, but the class list has {self.num_classes} classes: values "
            f"0..{self.num_classes - 1}, and {IGNORE} for ignore. Correct the mask, complete `classes`, "
            f"or say what the value means: label_map: {{{bad[0]}: {IGNORE}}}"
        )


def refuse_two_sizes(image: np.ndarray, mask: np.ndarray, image_path: str | Path, mask_path: str | Path) -> None:
    """Refuse an image and a mask whose height or width differ.

    Raises:
        ValueError: naming both files and sizes.

    """
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"image {image_path} is {image.shape[0]}×{image.shape[1]} (height × width, EXIF orientation applied) but "
            f"its mask {mask_path} is {mask.shape[0]}×{mask.shape[1]}; draw the mask on the image as it is shown, "
            "and keep both at one size (`resize` scales both)"
        )


def _bytes(path: str | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _open(path: str | Path, data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        what = "is empty" if not data else "is not an image that can be read"
        raise ValueError(f"{path} {what}; replace it, or take it out of the list") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} " + _DAMAGED.format(error=error)) from error
    deep = image.mode not in _EIGHT_BIT
    if image.format == "PNG":
        deep = data[24] > 8  # Pillow would drop the low byte of 16-bit colours without a word
    elif image.format == "TIFF":
        deep = deep or max(image.tag_v2.get(258, (8,))) > 8  # type: ignore[attr-defined]
    if deep:
        raise ValueError(
            f"{path} has more than 8 bits a channel (mode {image.mode}), which is not read; save it with 8"
        )
    return image


def _is_plain_jpeg(data: bytes) -> bool:
    """Tell whether OpenCV gives a JPEG's pixels exactly: whole, grey or RGB, no word about orientation or colours."""
    if not (data.startswith(b"\xff\xd8") and data.endswith(b"\xff\xd9")):
        return False
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):  # start of frame: precision, height, width, channels
            return data[position + 4] == 8 and data[position + 9] in (1, 3)
        if marker in (0xE1, 0xEE):  # EXIF or XMP; Adobe's colour transform
            return False
        position += 2 + length
    return False


def _plain_png_color(data: bytes) -> int | None:
    """Return the colour type of a PNG that OpenCV reads exactly: whole, 8 bits, nothing clear, no orientation."""
    if not (data.startswith(_PNG_START) and data.endswith(_PNG_END)) or data[24] != 8:
        return None
    head = data[: data.find(b"IDAT")]
    return None if b"tRNS" in head or b"eXIf" in data or b"exif" in head else data[25]
