"""Everything that makes a picture of images and masks: palettes, overlays, legends, side-by-side examples.

Arrays come in and uint8 RGB arrays (H, W, 3) go out, so that a notebook, a logger and a report draw the same thing;
`save` writes one to a file. Nothing here knows a data set, a task or a tensor.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from seg.convert.palette import full_palette, save_image
from seg.lettering import fit_text

Colors = Sequence[Sequence[int]]

IGNORE = 255
PAPER = (250, 250, 248)
INK = (40, 42, 48)
FAINT = (120, 123, 130)
WRONG = (226, 44, 44)
UNSCORED = (128, 140, 176)
GAP = 8


def rgb(image: np.ndarray) -> np.ndarray:
    """Return any image as uint8 RGB (H, W, 3).

    Args:
        image: (H, W), (H, W, 1) grey, (H, W, 2) drawn from its first channel, or (H, W, 3 or more) of which the first
            three channels are shown. uint8 keeps its values; bool and all others are stretched from their smallest to
            their largest finite value.

    """
    assert image.ndim in (2, 3), f"expected an image (H, W) or (H, W, N), got {image.shape}"
    if image.ndim == 2:
        image = image[:, :, None]
    image = image[:, :, :3] if image.shape[2] >= 3 else np.repeat(image[:, :, :1], 3, axis=2)
    if image.dtype != np.uint8:
        values = image.astype(np.float64)
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        scaled = np.nan_to_num((values - low) / max(high - low, 1e-12), nan=0.0, posinf=1.0, neginf=0.0)
        image = (scaled * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(image)


def colorize(mask: np.ndarray, colors: Colors) -> np.ndarray:
    """Return a mask in its classes' colours: uint8 (H, W, 3).

    Args:
        mask: integers (H, W) of 0..255; 255 takes the void colour, values past the last class Pascal VOC's colours.
        colors: one (red, green, blue) a class.

    """
    assert mask.ndim == 2, f"expected a mask (H, W), got {mask.shape}"
    table = np.array(full_palette(list(colors)[:255]), dtype=np.uint8).reshape(256, 3)
    return np.asarray(table[mask])


def boundaries(mask: np.ndarray) -> np.ndarray:
    """Return bool (H, W): the pixels whose upper, lower, left or right neighbour bears another label."""
    edge = np.zeros(mask.shape, dtype=bool)
    down = mask[1:] != mask[:-1]
    right = mask[:, 1:] != mask[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def overlay(image: np.ndarray, mask: np.ndarray, colors: Colors, alpha: float = 0.5) -> np.ndarray:
    """Lay a mask over its image, pixel on pixel, with the borders between classes drawn solid.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `rgb`.
        mask: integers (H, W); where it is 255 the image stays as it is.
        colors: one (red, green, blue) a class.
        alpha: share of the colour in the blend, 0..1.

    Raises:
        ValueError: the mask has another size than the image.

    """
    if image.shape[:2] != mask.shape:
        raise ValueError(f"overlay: image of {image.shape[:2]} and mask of {mask.shape} (height, width) must agree")
    picture = rgb(image)
    flat = colorize(mask, colors)
    share = round(alpha * 256)
    blend = ((picture.astype(np.uint16) * (256 - share) + flat.astype(np.uint16) * share + 128) >> 8).astype(np.uint8)
    blend = np.where(boundaries(mask)[:, :, None], flat, blend) if alpha > 0 else blend
    return np.where((mask == IGNORE)[:, :, None], picture, blend)


def differences(truth: np.ndarray, prediction: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    """Show where a prediction is wrong: agreement dim, errors red, ignored pixels a neutral blue grey.

    Args:
        truth: integers (H, W), 255 = ignore.
        prediction: integers (H, W).
        image: shows through, dimmed, so that one sees on what the errors lie.

    Raises:
        ValueError: the sizes differ.

    """
    if truth.shape != prediction.shape or (image is not None and image.shape[:2] != truth.shape):
        sizes = [array.shape[:2] for array in (truth, prediction, image) if array is not None]
        raise ValueError(f"differences: the sizes (height, width) must agree, got {sizes}")
    picture = np.full((*truth.shape, 3), 52, dtype=np.uint8)
    if image is not None:
        picture[:] = (rgb(image).astype(np.uint16).sum(axis=2, keepdims=True) // 9 + 28).astype(np.uint8)
    wrong = (truth != prediction) & (truth != IGNORE)
    picture[wrong] = (picture[wrong] // 4 + np.array(WRONG, dtype=np.uint8) // 4 * 3).astype(np.uint8)
    picture[truth == IGNORE] = UNSCORED
    return picture


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


def example(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    title: str = "",
    caption: str = "prediction",
) -> np.ndarray:
    """Draw image · truth · prediction · where they differ, with captions and a legend of the classes in sight.

    Args:
        image: (H, W), (H, W, 1) or (H, W, 3), see `rgb`.
        truth: integers (H, W), 255 = ignore; None draws image · prediction · overlay.
        prediction: integers (H, W).
        names: one a class.
        colors: one (red, green, blue) a class.
        title: first line of the picture.
        caption: what stands above `prediction`, which may be an annotation, too.

    Returns:
        uint8 (H', W', 3); small images are enlarged pixel by pixel, large ones scaled down.

    """
    panels = [("image", rgb(image))]
    if truth is None:
        panels += [(caption, colorize(prediction, colors)), ("overlay", overlay(image, prediction, colors))]
    else:
        scored = truth != IGNORE
        wrong = float((truth != prediction)[scored].mean()) if scored.any() else 0.0
        panels += [("truth", colorize(truth, colors)), (caption, colorize(prediction, colors))]
        panels += [(f"differs: {100 * wrong:.1f} %", differences(truth, prediction, image))]

    drawn = []
    for heading, panel in panels:
        fitted = fit_size(panel, smooth=heading in ("image", "overlay"))
        wide = max(fitted.shape[1], 130)  # a narrow strip still has room for its caption
        drawn.append(stack([text_line(heading, wide, color=FAINT), fitted], gap=2))
    body = grid(drawn, columns=len(drawn))

    seen = np.bincount(prediction.ravel(), minlength=256)[:256]
    if truth is not None:
        seen = seen + np.bincount(truth.ravel(), minlength=256)[:256]
    present = [index for index in range(min(len(names), 255)) if seen[index]]
    shown = [(names[index], colors[index]) for index in present]
    if seen[IGNORE]:
        shown.append(("ignored", colorize(np.array([[IGNORE]], dtype=np.uint8), colors)[0, 0].tolist()))
    parts = [body, legend([name for name, _ in shown], [color for _, color in shown], body.shape[1])]
    if title:
        parts.insert(0, text_line(title, body.shape[1], size=17))
    return frame(stack(parts))


def save(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture; the format follows the suffix, and a reader never sees half a file."""
    save_image(path, Image.fromarray(rgb(picture)))
