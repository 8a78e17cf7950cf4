"""Palettes, and indexed PNGs: the mask format that every other format is converted to."""

import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from seg.files import replacing

Color = tuple[int, int, int]

VOID_COLOR: Color = (224, 224, 192)
"""Pascal VOC's colour of value 255, the border and "ignore" value."""


def voc_colors(number: int) -> list[Color]:
    """Return the first `number` colours of Pascal VOC's colour map: the bits of the index, spread over the channels.

    Source: VOCdevkit, VOClabelcolormap.m.
    """
    return [_voc_color(index) for index in range(number)]


@cache
def _voc_color(index: int) -> Color:
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> (3 * bit) & 1) << (7 - bit)
        green |= (index >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (index >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


def full_palette(colors: Sequence[Sequence[int]]) -> list[int]:
    """Return a PNG palette of 768 numbers: the classes' colours, VOC's for the values in between, 255 as void."""
    entries = [tuple(color) for color in colors] + voc_colors(256)[len(colors) :]
    entries[255] = VOID_COLOR
    return [value for entry in entries for value in entry]


def write_indexed(path: str | Path, mask: np.ndarray, colors: Sequence[Sequence[int]]) -> None:
    """Write a mask as a palette PNG; a reader sees either the whole new file or what was there before.

    Args:
        path: file to write, ending in .png.
        mask: uint8 (H, W), 255 = ignore.
        colors: one (red, green, blue) a class.

    """
    assert mask.dtype == np.uint8, mask.dtype
    assert mask.ndim == 2, mask.shape
    image = Image.fromarray(np.ascontiguousarray(mask), mode="P")
    image.putpalette(full_palette(colors))
    # Run lengths are what masks consist of: smaller and 4 times faster than searching for repetitions.
    save_image(path, image, compress_type=zlib.Z_RLE)


def save_image(path: str | Path, image: Image.Image, **options: int | str) -> None:
    """Save a Pillow image beside `path` under a temporary name, then rename it; the format follows the suffix."""
    with replacing(path) as temporary:
        image.save(temporary, **options)  # type: ignore[arg-type]
