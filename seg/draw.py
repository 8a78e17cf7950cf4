"""Everything that makes a picture of images and masks: palettes, overlays, legends, side-by-side examples.

Arrays come in and uint8 RGB arrays (H, W, 3) go out, so that a notebook, a logger and a report draw the same thing;
`save` writes one to a file. Nothing here knows a data set, a task or a tensor.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seg.colors import safe_colors
from seg.convert.palette import full_palette, save_image
from seg.heat import beside, confidence_map, entropy_map, heat_map, scale_bar
from seg.layout import FAINT, GAP, INK, PAPER, Colors, fit_size, frame, grid, legend, stack, text_line

__all__ = [  # what makes up a picture is found here, wherever it is written
    "FAINT",
    "GAP",
    "INK",
    "PAPER",
    "Colors",
    "confidence_map",
    "entropy_map",
    "fit_size",
    "frame",
    "grid",
    "heat_map",
    "legend",
    "stack",
    "text_line",
]

IGNORE = 255
WRONG = (226, 44, 44)
UNSCORED = (128, 140, 176)
HIT, FALSE_ALARM, MISS = (64, 160, 255), (255, 176, 0), (220, 38, 127)
"""Colours of a class's true positives, false positives and false negatives, apart for colour-blind eyes."""


def rgb(image: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return any image as uint8 RGB (H, W, 3).

    Args:
        image: (H, W), (H, W, 1) grey, (H, W, 2) drawn from its first channel, or (H, W, 3 or more) of which the first
            three channels are shown. uint8 keeps its values; bool and all others are stretched from their smallest to
            their largest finite value.
        limits: the smallest and the largest value, where the image is a part of one.

    """
    assert image.ndim in (2, 3), f"expected an image (H, W) or (H, W, N), got {image.shape}"
    if image.ndim == 2:
        image = image[:, :, None]
    image = image[:, :, :3] if image.shape[2] >= 3 else np.repeat(image[:, :, :1], 3, axis=2)
    if image.dtype != np.uint8:
        values = image.astype(np.float64)
        if limits is None:
            finite = values[np.isfinite(values)]
            limits = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        low, high = limits
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


def error_map(
    truth: np.ndarray, prediction: np.ndarray, class_index: int | None = None, image: np.ndarray | None = None
) -> np.ndarray:
    """Show where a prediction is wrong: uint8 (H, W, 3), ignored pixels a neutral blue grey.

    Of all classes: agreement is dim, disagreement red. Of one class: its true positives blue, false positives amber,
    false negatives magenta (`HIT`, `FALSE_ALARM`, `MISS`), and all else dim.

    Args:
        truth: integers (H, W), 255 = ignore.
        prediction: integers (H, W).
        class_index: the class that is looked at; all of them where not given.
        image: shows through, dimmed, so that one sees on what the errors lie.

    Raises:
        ValueError: the sizes differ.

    """
    if truth.shape != prediction.shape or (image is not None and image.shape[:2] != truth.shape):
        sizes = [array.shape[:2] for array in (truth, prediction, image) if array is not None]
        raise ValueError(f"error_map: the sizes (height, width) must agree, got {sizes}")
    picture = np.full((*truth.shape, 3), 52, dtype=np.uint8)
    if image is not None:
        picture[:] = (rgb(image).astype(np.uint16).sum(axis=2, keepdims=True) // 9 + 28).astype(np.uint8)
    scored = truth != IGNORE
    if class_index is None:
        marked = {WRONG: (truth != prediction) & scored}
    else:
        there, found = (truth == class_index) & scored, (prediction == class_index) & scored
        marked = {HIT: there & found, FALSE_ALARM: found & ~there, MISS: there & ~found}
    for color, pixels in marked.items():
        picture[pixels] = (picture[pixels] // 4 + np.array(color, dtype=np.uint8) // 4 * 3).astype(np.uint8)
    picture[~scored] = UNSCORED
    return picture


def palette(number: int) -> list[tuple[int, int, int]]:
    """Return colours for classes without any: told apart by colour-blind people too, and stable for any number.

    Args:
        number: of classes, 0 to 255; colour i is the same whatever it is.

    """
    return safe_colors(number)


def example(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray,
    names: Sequence[str],
    colors: Colors,
    title: str = "",
    caption: str = "prediction",
    confidence: np.ndarray | None = None,
    largest: int = 640,
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
        confidence: (H, W), 0 to 1, drawn as a further panel.
        largest: longer side of a panel above which it is scaled down, see `fit_size`.

    Returns:
        uint8 (H', W', 3); small images are enlarged pixel by pixel, large ones scaled down.

    """
    panels = [("image", rgb(image))]
    if truth is None:
        panels += [(caption, colorize(prediction, colors)), ("overlay", overlay(image, prediction, colors))]
    else:
        scored = truth != IGNORE
        share = f"{100 * float((truth != prediction)[scored].mean()):.1f} %" if scored.any() else "n/a"
        panels += [("truth", colorize(truth, colors)), (caption, colorize(prediction, colors))]
        panels += [(f"differs: {share}", error_map(truth, prediction, image=image))]
    if confidence is not None:
        panels.append(("confidence", confidence_map(confidence, scale=False)))

    drawn = []
    for heading, panel in panels:
        fitted = fit_size(panel, largest=largest, smooth=heading in ("image", "overlay", "confidence"))
        if heading == "confidence":
            fitted = beside(fitted, scale_bar(len(fitted), 0.0, 1.0))
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
