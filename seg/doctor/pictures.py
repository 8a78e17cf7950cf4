"""Pictures of findings: an image with its mask laid over it, the place that matters framed, two side by side."""

import base64
import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageDraw

from seg.data.classes import IGNORE
from seg.data.dataset import Pair
from seg.doctor.findings import Place
from seg.doctor.survey import Survey
from seg.draw import WRONG, colorize, grid, overlay, rgb

SIDE = 300
"""Longer side of a thumbnail in pixels."""
_ROOM = 3  # times its size that is shown around a box
_LEAST = 64


def picture(place: Place, survey: Survey) -> np.ndarray | None:
    """Return a picture of a place, uint8 (H, W, 3), or None where there is nothing that could be shown."""
    if place.pair is None:
        return None
    drawn = _drawn(place.pair, place, survey)
    if place.other is None or drawn is None:
        return drawn
    other = _drawn(place.other, place, survey)
    return drawn if other is None else grid([drawn, other], columns=2)


def embedded(array: np.ndarray) -> str:
    """Return a picture as a data URL, the smaller of PNG and JPEG."""
    texts = []
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 85})):
        file = io.BytesIO()
        Image.fromarray(array).save(file, kind, **options)
        texts.append(f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}")
    return min(texts, key=len)


def _drawn(pair: Pair, place: Place, survey: Survey) -> np.ndarray | None:
    """Return a pair's image under its mask, or whichever of the two can be read."""
    reader, image, mask = survey.data._reader(), None, None
    with suppress(Exception):  # that it cannot be read is said in words
        image = rgb(reader.image(pair))
    if pair.mask:
        with suppress(Exception):
            mask = reader.mask(pair)
    if mask is not None:
        shown = np.full(256, IGNORE - 1, np.uint8)  # a value without meaning has a colour of its own
        for value in range(256):
            if (label := survey.meaning(value)) is not None:
                shown[value] = label
        mask = shown[mask]
    if image is None:
        return None if mask is None else _small(colorize(mask, survey.data.class_colors), smooth=False)
    if mask is not None and mask.shape != image.shape[:2]:
        colors = survey.data.class_colors
        return grid([_small(image), _small(colorize(mask, colors), smooth=False)], columns=2)
    if place.outline:
        return _small(_outlined(image, place.outline))
    if place.box is not None:
        return _framed(image, mask, place.box, survey)
    # reduced first, so that a mask of many megapixels takes no time to lay over it
    small = _small(image)
    if mask is None:
        return small
    rows, columns = (
        np.arange(length) * full // length for length, full in zip(small.shape[:2], mask.shape, strict=True)
    )
    return overlay(small, mask[rows][:, columns], survey.data.class_colors)


def _framed(image: np.ndarray, mask: np.ndarray | None, box: tuple[int, int, int, int], survey: Survey) -> np.ndarray:
    """Return the surroundings of a box, enlarged, without and with the mask."""
    left, top, right, bottom = box
    reach = max(_ROOM * max(right - left, bottom - top), _LEAST)
    middle = (left + right) // 2, (top + bottom) // 2
    rows = slice(max(middle[1] - reach, 0), middle[1] + reach)
    columns = slice(max(middle[0] - reach, 0), middle[0] + reach)
    part = np.ascontiguousarray(image[rows, columns])
    factor = max(1, SIDE // max(part.shape[:2]))
    shown = [part] if mask is None else [part, overlay(part, mask[rows, columns], survey.data.class_colors)]
    corner = [(left - columns.start) * factor - 2, (top - rows.start) * factor - 2]
    corner += [(right - columns.start) * factor + 1, (bottom - rows.start) * factor + 1]
    drawn = []
    for array in shown:
        large = Image.fromarray(array.repeat(factor, axis=0).repeat(factor, axis=1))
        ImageDraw.Draw(large).rectangle(corner, outline=WRONG, width=2)
        drawn.append(np.array(large))
    return grid(drawn, columns=2)


def _outlined(image: np.ndarray, outline: tuple[float, ...]) -> np.ndarray:
    """Return an image with a shape drawn on it, with room for what lies outside, up to the image's own size."""
    height, width = image.shape[:2]
    x, y = np.clip(outline[0::2], -width, 2 * width), np.clip(outline[1::2], -height, 2 * height)
    left, top = (int(max(0, -values.min())) + 4 for values in (x, y))
    right, bottom = (int(max(0, values.max() - side)) + 4 for values, side in ((x, width), (y, height)))
    canvas = Image.new("RGB", (left + width + right, top + height + bottom), (210, 210, 206))
    canvas.paste(Image.fromarray(image), (left, top))
    points = list(zip((x + left).tolist(), (y + top).tolist(), strict=True))
    line = max(2, max(canvas.size) // SIDE * 2)
    ImageDraw.Draw(canvas).line([*points, points[0]], fill=WRONG, width=line)
    return np.array(canvas)


def _small(array: np.ndarray, smooth: bool = True) -> np.ndarray:
    height, width = array.shape[:2]
    longer = max(height, width)
    if longer <= SIDE:
        factor = max(1, SIDE // 2 // longer)
        return array.repeat(factor, axis=0).repeat(factor, axis=1)
    size = max(1, round(width * SIDE / longer)), max(1, round(height * SIDE / longer))
    method = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
    return np.array(Image.fromarray(array).resize(size, method))
