"""Paper on which pictures are laid out: lines of text, legends, grids, margins. Arrays in, uint8 RGB arrays out."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from seg.lettering import fit_text

Colors = Sequence[Sequence[int]]

PAPER = (250, 250, 248)
INK = (40, 42, 48)
FAINT = (120, 123, 130)
GAP = 8


def text_line(
    text: str, width: int, size: int = 14, color: Sequence[int] = INK, background: Sequence[int] = PAPER
) -> np.ndarray:
    """Return one line of text as a picture of the given width; what does not fit is cut and dotted."""
    canvas = Image.new("RGB", (max(width, 1), round(size * 1.6)), tuple(background))
    text, font = fit_text(text, size, width)
    ImageDraw.Draw(canvas).text((0, round(size * 0.25)), text, fill=tuple(color), font=font)
    return np.array(canvas)


def legend(
    names: Sequence[str], colors: Colors, width: int, size: int = 13, background: Sequence[int] = PAPER
) -> np.ndarray:
    """Draw a swatch and a name a class, in as many columns as the width holds.

    Args:
        names: one a class; a name wider than the picture is cut and dotted.
        colors: one (red, green, blue) a name.
        width: of the picture in pixels.
        size: of the letters in pixels.
        background: colour of the paper.

    """
    assert len(names) <= len(colors), (len(names), len(colors))
    width = max(width, 3 * size)
    swatch, row = size, round(size * 1.6)
    fitted = [fit_text(name, size, width - swatch - size // 2) for name in names]
    column = max([round(font.getlength(text)) for text, font in fitted], default=0) + swatch + size // 2 + 2 * size
    columns = max(1, (width + 2 * size) // column)
    canvas = Image.new("RGB", (width, max(1, -(-len(names) // columns) * row)), tuple(background))
    draw = ImageDraw.Draw(canvas)
    for index, ((text, font), color) in enumerate(zip(fitted, colors, strict=False)):
        left, top = index % columns * column, index // columns * row
        box = (left, top + (row - swatch) // 2, left + swatch - 1, top + (row + swatch) // 2 - 1)
        draw.rectangle(box, fill=tuple(int(value) for value in color[:3]), outline=FAINT)
        draw.text((left + swatch + size // 2, top + round(size * 0.2)), text, fill=INK, font=font)
    return np.array(canvas)


def fit_size(picture: np.ndarray, smallest: int = 224, largest: int = 640, smooth: bool = False) -> np.ndarray:
    """Bring a picture to a size at which captions can be read and several fit beside each other.

    Args:
        picture: uint8 (H, W, 3).
        smallest: a longer side below this is enlarged by a whole number of times, each pixel staying a square.
        largest: a longer side above this is scaled down to it.
        smooth: average when scaling down (photographs); masks keep their own colours instead.

    """
    height, width = picture.shape[:2]
    longer = max(height, width)
    if longer < smallest:
        factor = -(-smallest // longer)
        return picture.repeat(factor, axis=0).repeat(factor, axis=1)
    if longer > largest:
        size = (max(1, round(width * largest / longer)), max(1, round(height * largest / longer)))
        method = Image.Resampling.BOX if smooth else Image.Resampling.NEAREST
        return np.array(Image.fromarray(picture).resize(size, method))
    return picture


def stack(pictures: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Put pictures under each other, left-aligned on paper as wide as the widest."""
    return grid(pictures, columns=1, gap=gap)


def grid(pictures: Sequence[np.ndarray], columns: int, gap: int = GAP) -> np.ndarray:
    """Lay pictures out in rows; rows are as high and columns as wide as their largest picture.

    Args:
        pictures: uint8 (H, W, 3) of any sizes.
        columns: pictures a row.
        gap: pixels of paper between them.

    """
    assert pictures, "grid needs at least one picture"
    assert columns >= 1, columns
    columns = min(columns, len(pictures))
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    widths = [max(picture.shape[1] for picture in pictures[column::columns]) for column in range(columns)]
    shape = (sum(heights) + gap * (len(rows) - 1), sum(widths) + gap * (columns - 1), 3)
    canvas = np.broadcast_to(np.array(PAPER, dtype=np.uint8), shape).copy()
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            top, left = sum(heights[:i]) + gap * i, sum(widths[:j]) + gap * j
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def frame(picture: np.ndarray, margin: int = 12) -> np.ndarray:
    """Return the picture with a margin of paper around it."""
    height, width = picture.shape[:2]
    canvas = np.broadcast_to(np.array(PAPER, dtype=np.uint8), (height + 2 * margin, width + 2 * margin, 3)).copy()
    canvas[margin : margin + height, margin : margin + width] = picture
    return canvas
