"""Images as their files hold them: any number of bands, 8 or 16 bits or floats. PNG, TIFF, NumPy's .npy.

`images.py` calls this where something else than 8-bit RGB is asked for. Arrays come out as (H, W, N), upright, in
uint8, uint16 or float32: all other integers become float32, which is exact up to 2²⁴.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from seg.data.classes import IGNORE
from seg.data.decoding import (
    DAMAGED,
    GREY,
    ORIENTATION,
    PILLOW_ERRORS,
    RGB,
    RGBA,
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

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PILLOW_AS_THEY_ARE = {"L", "LA", "RGB", "RGBA", "RGBX", "I;16", "I;16L", "I;16B", "I;16N", "I", "F"}


def is_tiff(data: bytes) -> bool:
    """Tell by its first bytes whether a file is a TIFF."""
    return data.startswith(_TIFF_STARTS)


def is_npy(path: str | Path) -> bool:
    """Tell by its name whether a file is one of NumPy's arrays."""
    return Path(path).suffix.lower() == ".npy"


def read_raster(path: str | Path) -> np.ndarray:
    """Read every band of an image, in the file's own values.

    Palettes, CMYK, YCbCr and Lab are ways to write colours and become 8-bit RGB; transparency is a band like others.

    * TIFF: chunky or planar, or a band a page; of several images the first. Values of GDAL's nodata tag become NaN in
      images of floats (and of integers that become floats).
    * .npy: (H, W), (H, W, N) or (N, H, W); of three axes the shorter of the first and the last is the bands, the last
      where both are equal.

    Returns:
        uint8, uint16 or float32 (H, W, N), upright.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an image, damaged, larger than the limit, or of a kind that has no bands.

    """
    if is_npy(path):
        return _numbers(_bands_last(np.array(_map_npy(path)), path), path)
    data = read_bytes(path)
    if is_tiff(data):
        return _read_tiff(path, data)
    return _read_picture(path, data)


def read_raster_size(path: str | Path) -> tuple[int, int]:
    """Read the upright height and width of a .npy or TIFF file without its pixels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, damaged, or larger than the limit.

    """
    if is_npy(path):
        height, width = _bands_last(_map_npy(path), path).shape[:2]
        return height, width
    from seg.data.tiff import tiff_size

    with open(path, "rb") as file:
        return tiff_size(path, file)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image (H, W, N) or (H, W) as it is meant to be seen, by its EXIF or TIFF orientation 1..8."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def as_rgb(raster: np.ndarray, path: str | Path) -> np.ndarray:
    """Return the bands of an array as 8-bit RGB, where that is what they are."""
    bands = raster.shape[2]
    if raster.dtype != np.uint8 or bands not in (1, 3, 4):
        raise ValueError(
            f"{path} has {bands} bands of {raster.dtype}, which is not 8-bit RGB; set the data module's channels to "
            "native (or grey) to read it as it is"
        )
    return np.ascontiguousarray(raster[:, :, :3]) if bands >= 3 else np.repeat(raster, 3, axis=2)


def as_grey(raster: np.ndarray, path: str | Path) -> np.ndarray:
    """Return the brightness of an image (H, W, N) as (H, W, 1), transparency left out."""
    bands = raster.shape[2]
    if bands <= 2:
        return np.ascontiguousarray(raster[:, :, :1])
    if bands > 4:
        raise ValueError(
            f"{path} has {bands} bands, which have no brightness; set the data module's channels to native"
        )
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(raster[:, :, :3]), cv2.COLOR_RGB2GRAY))[:, :, None]


def as_labels(raster: np.ndarray, path: str | Path) -> np.ndarray:
    """Return a raster's label values, which may come in any kind of number but must be whole and below 256."""
    if raster.shape[2] != 1:
        raise ValueError(f"mask {path} has {raster.shape[2]} bands; one label a pixel is expected, (H, W)")
    labels = np.asarray(raster[:, :, 0].astype(np.uint8)) if raster.dtype == np.uint8 else None
    if labels is not None:
        return labels
    wrong = ~((raster >= 0) & (raster <= 255) & (raster == np.floor(raster)))  # NaN too
    if wrong.any():
        raise ValueError(
            f"mask {path} holds {raster[wrong][0]:g} ({np.count_nonzero(wrong)} such pixels); labels are whole numbers "
            f"0..255, {IGNORE} for ignore. Instance masks and depth have other values: convert them to classes first"
        )
    return raster[:, :, 0].astype(np.uint8)


def _read_picture(path: str | Path, data: bytes) -> np.ndarray:
    eight, sixteen = plain_png_color(data), plain_png_color(data, bits=16)
    if jpeg_size(data) or eight in (GREY, RGB) or sixteen in (GREY, RGB, RGBA):
        decoded = decode(path, data, cv2.IMREAD_UNCHANGED)
        if decoded is not None:
            bands = decoded.shape[2] if decoded.ndim == 3 else 1
            order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
            return decoded[:, :, None] if bands == 1 else np.asarray(cv2.cvtColor(decoded, order[bands], dst=decoded))
    image = open_picture(path, data)
    if not _is_exact(image, data):
        _load(path, image)
        raise ValueError(
            f"{path} has 16 bits a channel with transparency or an orientation, which is not read; write it anew as "
            "plain 16-bit PNG, or as TIFF"
        )
    return _from_pillow(path, image)


def _from_pillow(path: str | Path, image: Image.Image) -> np.ndarray:
    """Return the pixels of an opened picture: Pillow's modes that are bands as they are, the others as RGB."""
    _load(path, image)
    # Pillow turns TIFFs itself
    orientation = 1 if image.format == "TIFF" else told(path, lambda: image.getexif().get(ORIENTATION, 1))
    if image.mode not in _PILLOW_AS_THEY_ARE:
        image = image.convert("L" if image.mode in ("1", "La") else "RGB")
    pixels = np.array(image)
    return _numbers(upright(pixels if pixels.ndim == 3 else pixels[:, :, None], orientation), path)


def _load(path: str | Path, image: Image.Image) -> None:
    try:
        image.load()
    except PILLOW_ERRORS as error:
        raise ValueError(f"image {path} " + DAMAGED.format(error=error)) from error


def _read_tiff(path: str | Path, data: bytes) -> np.ndarray:
    from seg.data.tiff import MissingCodecError, read_tiff  # tifffile takes a while to import, and few need it

    try:
        read = read_tiff(path, data)
    except MissingCodecError:  # libtiff, which is inside Pillow, may know it
        image = open_picture(path, data)
        if samples(image) != len(image.getbands()) or getattr(image, "n_frames", 1) > 1 or not _is_exact(image, data):
            raise
        return _from_pillow(path, image)
    return _from_pillow(path, open_picture(path, data)) if read is None else _numbers(upright(*read), path)


def _is_exact(image: Image.Image, data: bytes) -> bool:
    """Tell whether Pillow keeps a picture's bits: it cuts 16-bit colours to 8."""
    return not is_deep(image, data) or (image.mode in _PILLOW_AS_THEY_ARE and len(image.getbands()) == 1)


def _map_npy(path: str | Path) -> np.ndarray:
    """Return a .npy file's array without reading it; nothing in such a file is ever executed."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")

    def read() -> np.ndarray:
        return np.lib.format.open_memmap(path, mode="r")  # object arrays are refused

    array = told(path, read)
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"{path} holds an array of shape {array.shape}; (H, W), (H, W, N) or (N, H, W) is read")
    return array


def _bands_last(array: np.ndarray, path: str | Path) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    elif array.shape[0] < array.shape[2]:
        array = np.moveaxis(array, 0, -1)
    check_size(path, *array.shape)
    return array


def _numbers(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    """Return pixels of any real kind as uint8, uint16 or float32 in this machine's byte order, lying in order."""
    kind = pixels.dtype
    if kind == np.bool_:
        wanted: Any = np.uint8
    elif kind.kind not in "uif":
        raise ValueError(f"{path} holds values of type {kind}; integers and floats are read")
    else:
        wanted = kind.newbyteorder("=") if kind.newbyteorder("=") in (np.uint8, np.uint16) else np.float32
    with np.errstate(over="ignore"):  # past float32's range: infinite, which counts as missing
        return np.ascontiguousarray(pixels, dtype=wanted)
