"""The one reader of images and masks: files -> arrays, upright, checked.

Images are 8-bit RGB unless other channels are asked for: `rasters.py` reads those.
"""

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from seg.data.classes import IGNORE
from seg.data.decoding import (
    DAMAGED,
    GREY,
    HUGE,
    ORIENTATION,
    RGB,
    check_size,
    decode,
    is_deep,
    jpeg_size,
    open_picture,
    plain_png_color,
    read_bytes,
    samples,
    told,
)
from seg.data.rasters import as_grey, as_labels, as_rgb, is_npy, is_tiff, read_raster, read_raster_size, upright

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".npy")
"""Suffixes that are looked for where a list names a file without one, the likeliest first."""

Channels: TypeAlias = Literal["rgb", "grey", "native"]
"""What an image is read as: 8-bit RGB, one band of brightness, or every band; the last two keep the file's depth."""


class Size(NamedTuple):
    """Height and width of an image in pixels, upright."""

    height: int
    width: int


def read_image(path: str | Path, channels: Channels = "rgb") -> np.ndarray:
    """Read an image as it is meant to be seen.

    The EXIF orientation is applied here and nowhere else.

    Args:
        path: any file that Pillow can read, a TIFF of any number of bands, or a .npy file.
        channels: rgb makes grey, palette, transparent and CMYK images RGB and takes 8 bits a channel alone; grey gives
            one band, of colours their luma (ITU-R BT.601); native gives all bands, see `read_raster`.

    Returns:
        uint8 (H, W, 3), red first; for grey and native uint8, uint16 or float32 (H, W, N).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image, truncated, larger than the limit, or not of the channels that are asked for.

    """
    if channels != "rgb" or is_npy(path):
        raster = read_raster(path)
        return as_rgb(raster, path) if channels == "rgb" else as_grey(raster, path) if channels == "grey" else raster
    data = read_bytes(path)
    if jpeg_size(data) or plain_png_color(data) in (GREY, RGB):
        decoded = decode(path, data, cv2.IMREAD_COLOR)
        if decoded is not None:
            return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded))
    image = _open_rgb(path, data)

    def pixels() -> np.ndarray:
        image.load()
        return _turned(image, np.array(image if image.mode == "RGB" else image.convert("RGB")))

    return told(f"image {path}", pixels)


def read_mask(path: str | Path) -> np.ndarray:
    """Read a mask's label values, a palette's indices as they are.

    Args:
        path: an indexed ("P") or grey file without loss: PNG, BMP, TIFF, GIF; or integers (H, W) in a .npy file. It may
            have more than 8 bits where its values do not need them.

    Returns:
        uint8 (H, W), upright like its image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a colour picture, a JPEG, a value above 255, truncated, or not an image.

    """
    if is_npy(path):
        return as_labels(read_raster(path), path)
    data = read_bytes(path)
    if plain_png_color(data) == GREY:
        decoded = decode(path, data, cv2.IMREAD_UNCHANGED)
        if decoded is not None:
            return decoded
    try:
        image = open_picture(path, data)
    except ValueError:
        if not is_tiff(data):
            raise
        return as_labels(read_raster(path), path)  # of numbers that Pillow does not know
    if image.format in ("JPEG", "MPO", "WEBP"):
        raise ValueError(
            f"mask {path} is a {image.format} file, which stores labels inexactly; "
            "save masks as indexed or grey PNG, straight from the tool that drew them"
        )
    if samples(image) == 1 and is_deep(image, data):
        return as_labels(read_raster(path), path)
    if image.mode not in ("P", "L", "1") or samples(image) > 1:
        raise ValueError(
            f"mask {path} is a colour picture (mode {image.mode}); an indexed mask is expected, one label a pixel. "
            "Convert the folder first: seg convert colors FOLDER --palette FILE --out DST"
        )

    def labels() -> np.ndarray:
        image.load()
        mask = _turned(image, np.array(image, dtype=np.uint8))
        # Pillow spreads grey of 2 and 4 bits over 0..255, as a picture wants it and labels do not.
        spread = {2: 85, 4: 17}.get(data[24], 1) if image.format == "PNG" and image.mode == "L" else 1
        return mask // np.uint8(spread)

    return told(f"mask {path}", labels)


def read_size(path: str | Path) -> Size:
    """Read an image's upright height and width from the head of its file, without decoding it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image, or larger than the limit.

    """
    if is_npy(path):
        return Size(*read_raster_size(path))
    try:
        with Image.open(path) as image:
            width, height = image.size
            check_size(path, height, width)
            if image.format == "TIFF":  # Pillow turns these itself, and gives the upright size
                return Size(height, width)
            # Asking a PNG without EXIF for it decodes the whole file, in search of a chunk behind the pixels.
            known = image.format != "PNG" or "exif" in image.info
            turned = known and image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
            return Size(width, height) if turned else Size(height, width)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged EXIF ends in struct.error, TypeError, …
        with open(path, "rb") as file:
            if is_tiff(file.read(4)):  # of more bands than Pillow knows
                return Size(*read_raster_size(path))
        if str(error).startswith(str(path)):
            raise
        if isinstance(error, Image.DecompressionBombError):
            raise ValueError(f"{path} " + HUGE.format(error=error)) from error
        raise ValueError(f"image {path} " + DAMAGED.format(error=error)) from error


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image (H, W, N) at another (height, width): averaged where it shrinks, linear where it grows."""
    shrinks = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return interpolate(image, size, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def interpolate(image: np.ndarray, size: tuple[int, int], method: int) -> np.ndarray:
    """Return an image (H, W, N) or mask (H, W) at another (height, width) by one of OpenCV's methods."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if image.ndim == 2 or 2 <= image.shape[2] <= 4:
        return np.asarray(cv2.resize(image, (width, height), interpolation=method))
    # OpenCV resizes 4 bands at once, and drops the last axis of a single one.
    bands = range(0, image.shape[2], 4)
    parts = [cv2.resize(image[:, :, first : first + 4], (width, height), interpolation=method) for first in bands]
    return np.dstack(parts)


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


def _turned(image: Image.Image, pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of an opened picture upright."""
    # not by Pillow's exif_transpose, which writes all of the EXIF anew and stumbles over odd entries beside this one
    return np.ascontiguousarray(upright(pixels, image.getexif().get(ORIENTATION, 1)))


def _open_rgb(path: str | Path, data: bytes) -> Image.Image:
    """Open a picture that becomes RGB; what has more to say than that is refused with the setting that reads it."""
    kept = "set the data module's channels to native (or grey) to read it as it is, or save it as 8-bit RGB"
    try:
        image = open_picture(path, data)
    except ValueError as error:
        if is_tiff(data) and isinstance(error.__cause__, UnidentifiedImageError):
            raise ValueError(f"{path} is damaged, or has other bands than 8-bit colours; {kept}") from error
        raise
    if is_deep(image, data):
        raise ValueError(f"{path} has more than 8 bits a channel (mode {image.mode}); {kept}")
    if samples(image) > 4 or samples(image) > 2 > len(image.getbands()):  # RGBX is RGB
        raise ValueError(f"{path} has {samples(image)} bands that are no colours; {kept}")
    return image
