"""TIFF of any number of bands: chunky, planar or a band a page; integers and floats; GDAL's word for "no data"."""

import io
import logging
import re
from pathlib import Path
from typing import IO

import numpy as np
import tifffile

from seg.data.decoding import DAMAGED, check_size, told

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is said once, by our error
_PLAIN = {1, 2}  # photometric: black is zero, RGB; palettes, CMYK and the like are left to Pillow
_GDAL_NODATA = 42113
_REDUCED, _MASK = 1, 4  # bits of the tag NewSubfileType


class MissingCodecError(ValueError):
    """A compression that tifffile needs another package for."""


def read_tiff(path: str | Path, data: bytes) -> tuple[np.ndarray, int] | None:
    """Read all bands of a TIFF's first image.

    Args:
        path: named in errors.
        data: the file.

    Returns:
        (H, W, N) of the file's own type, and its orientation 1..8; of floats, and of integers that become floats, NaN
        where there is no data. None for palettes, CMYK, and less than 8 bits, which Pillow reads exactly.

    Raises:
        ValueError: damaged, larger than the limit, or more than one image of bands.
        MissingCodecError: compressed in a way that tifffile alone does not know.

    """

    def read() -> tuple[np.ndarray, int] | None:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            axes, shape, page = _first_image(path, file)
            if page.photometric not in _PLAIN or page.bitspersample < 8:
                return None
            _check_segments(path, file, len(data))
            pixels = file.series[0].asarray().reshape(shape)
            bands = next((axis for axis, name in enumerate(axes) if name not in "YX"), None)
            pixels = pixels[:, :, None] if bands is None else np.moveaxis(pixels, bands, -1)
            return _without_nodata(pixels, page), _orientation(page)

    try:
        return told(path, read)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise MissingCodecError(
            f"{path} is compressed in a way that needs another package: pip install imagecodecs, or write the file "
            "with DEFLATE compression or none"
        ) from error


def tiff_size(path: str | Path, file: IO[bytes]) -> tuple[int, int]:
    """Read the upright height and width of a TIFF's first image.

    Raises:
        ValueError: damaged, larger than the limit, or more than one image of bands.

    """

    def read() -> tuple[int, int]:
        with tifffile.TiffFile(file) as opened:
            axes, shape, page = _first_image(path, opened)
            height, width = shape[axes.index("Y")], shape[axes.index("X")]
            return (width, height) if _orientation(page) >= 5 else (height, width)

    return told(path, read)


def count_pages(path: str | Path) -> tuple[int, int]:
    """Count a TIFF's pages without overviews and masks, and those of them that are its first image's bands.

    Raises:
        ValueError: damaged.

    """

    def read() -> tuple[int, int]:
        with tifffile.TiffFile(path) as file:
            pages = [page.aspage() for page in file.pages]
            full = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)]
            return len(full), len(file.series[0].pages)

    return told(path, read)


def _first_image(path: str | Path, file: tifffile.TiffFile) -> tuple[str, tuple[int, ...], tifffile.TiffPage]:
    """Return axes, shape and first page of a TIFF's first image: Y, X and one more for bands at most."""
    series = file.series[0]
    kept = [index for index, name in enumerate(series.axes) if name in "YX" or series.shape[index] > 1]
    axes, shape = "".join(series.axes[index] for index in kept), tuple(int(series.shape[index]) for index in kept)
    if len(axes) > 3 or "YX" not in axes:
        raise ValueError(f"{path} has axes {series.axes} of {series.shape}; save one image of (bands, height, width)")
    height, width = shape[axes.index("Y")], shape[axes.index("X")]
    check_size(path, height, width, int(np.prod(shape, dtype=object)) // max(height * width, 1))
    return axes, shape, series.keyframe  # type: ignore[return-value]


def _check_segments(path: str | Path, file: tifffile.TiffFile, length: int) -> None:
    """Refuse a file some of whose pixels are missing: tifffile would fill them in with zeros."""
    for page in file.series[0].pages:
        assert page is not None
        expected = int(np.prod(page.chunked, dtype=object))
        segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
        if len(segments) != expected or any(offset + count > length for offset, count in segments):
            error = f"{len(segments)} of {expected} strips or tiles"
            raise ValueError(f"{path} " + DAMAGED.format(error=error))


def _orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get("Orientation")
    return int(tag.value) if tag is not None else 1


def _without_nodata(pixels: np.ndarray, page: tifffile.TiffPage) -> np.ndarray:
    """Return the pixels with NaN where GDAL's tag says that there is no data, in images that are or become floats."""
    tag = page.tags.get(_GDAL_NODATA)
    if tag is None or (pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2):
        return pixels
    nodata = float(re.sub(r"[\0\s]", "", str(tag.value)) or "nan")
    with np.errstate(over="ignore"):  # float64's smallest number in a file of float32
        missing = pixels == (pixels.dtype.type(nodata) if pixels.dtype.kind == "f" else nodata)
        pixels = pixels.astype(np.float32)
    pixels[missing] = np.nan
    return pixels
