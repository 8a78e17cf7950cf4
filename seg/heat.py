"""Pictures of one number a pixel: confidence, entropy, and any other map, with the scale beside it.

Arrays come in and uint8 RGB arrays (H, W, 3) go out.
"""

from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from seg.layout import FAINT, INK, PAPER
from seg.lettering import choose_font

UNKNOWN = (128, 140, 176)
"""Colour of values that are not finite."""
BAR = 14
"""Width of a scale bar in pixels."""


@cache
def _table() -> np.ndarray:
    """Return 256 colours from dark to bright, evenly spaced to the eye: viridis, (256, 3) uint8."""
    indices = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(indices, cv2.COLORMAP_VIRIDIS))[:, 0, ::-1].copy()


def heat(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Return a map in colours, dark = low, bright = high: uint8 (H, W, 3), a pixel a value.

    Args:
        values: (H, W); those beyond the ends take the colour of the end, those that are not finite a blue grey.
        low: value of the darkest colour.
        high: value of the brightest colour.

    """
    assert values.ndim == 2, f"expected a map (H, W), got {values.shape}"
    values = values.astype(np.float64)
    known = np.isfinite(values)
    share = (np.where(known, values, low) - low) / (high - low if high > low else 1.0)
    picture = _table()[(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)]
    picture[~known] = UNKNOWN
    return np.asarray(picture)


def heat_map(values: np.ndarray, low: float = 0.0, high: float = 1.0, scale: bool = True, unit: str = "") -> np.ndarray:
    """Draw a map with a scale bar at its right; the map itself is the first H rows and W columns of the picture.

    Args:
        values: (H, W), see `heat`.
        low: value of the darkest colour.
        high: value of the brightest colour.
        scale: false leaves the scale bar out, so that the picture is as large as the map.
        unit: follows the figures at the scale.

    """
    picture = heat(values, low, high)
    return beside(picture, scale_bar(picture.shape[0], low, high, unit)) if scale else picture


def confidence_map(confidence: np.ndarray, scale: bool = True) -> np.ndarray:
    """Draw how sure a network is of each pixel's label: its largest probability, dark = unsure, bright = sure.

    Args:
        confidence: (H, W), 0 to 1.
        scale: draw a scale bar at the right, see `heat_map`.

    """
    return heat_map(confidence, 0.0, 1.0, scale)


def entropy_map(probabilities: np.ndarray, scale: bool = True) -> np.ndarray:
    """Draw the entropy of each pixel's class probabilities in bits, from 0 (sure) to log2 C (all classes alike).

    Args:
        probabilities: (C, H, W), over the classes summing to 1.
        scale: draw a scale bar at the right, see `heat_map`.

    Raises:
        ValueError: not three dimensions.

    """
    if probabilities.ndim != 3:
        raise ValueError(f"entropy_map: probabilities of shape {probabilities.shape}, expected (classes, H, W)")
    shares = np.clip(probabilities.astype(np.float64), 0, None)
    bits = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=0)
    return heat_map(bits, 0.0, float(np.log2(max(2, len(probabilities)))), scale, " bit")


def scale_bar(height: int, low: float, high: float, unit: str = "") -> np.ndarray:
    """Return a vertical scale from `high` at the top to `low` at the bottom, at least 40 pixels high."""
    size, height = 12, max(height, 40)
    labels = [f"{value:.3g}{unit}" for value in (high, (low + high) / 2, low)]
    font = choose_font("0", size)[1]
    width = BAR + 8 + round(max(font.getlength(label) for label in labels))
    canvas = Image.new("RGB", (width, height), PAPER)
    column = np.linspace(1, 0, height)[:, None].repeat(BAR, axis=1)
    canvas.paste(Image.fromarray(heat(column)), (0, 0))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, BAR - 1, height - 1), outline=FAINT)
    for label, share in zip(labels, (0.0, 0.5, 1.0), strict=True):
        if share == 0.5 and height < 4 * size:
            continue  # three figures would lie on each other
        draw.text((BAR + 4, round(share * (height - size - 3))), label, fill=INK, font=font)
    return np.array(canvas)


def beside(picture: np.ndarray, right: np.ndarray, gap: int = 6) -> np.ndarray:
    """Lay two pictures side by side on paper, their tops aligned."""
    height = max(len(picture), len(right))
    canvas = np.full((height, picture.shape[1] + gap + right.shape[1], 3), PAPER, dtype=np.uint8)
    canvas[: len(picture), : picture.shape[1]] = picture
    canvas[: len(right), picture.shape[1] + gap :] = right
    return canvas
