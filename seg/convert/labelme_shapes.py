"""Shapes to pixels: drawn as labelme draws them, with Pillow's ImageDraw, but all of a file into one picture."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from seg.convert.labelme_file import Shape, decode, open_image, plain
from seg.data.images import Size

CROSSINGS = 5000
"""Times an outline may cross a line of the image on average; Pillow sorts them, and would take minutes over more."""

ORDERS = ("file", "smaller_on_top")


class Drawing(NamedTuple):
    """How shapes become pixels; the defaults are labelme's own.

    Args:
        line_width: of line and linestrip, in pixels.
        point_radius: of point, in pixels.
        hole_label: shapes of this label are cut out of another shape and show what lies beneath. That shape is the one
            of the same group_id, otherwise the last one before the hole in the file whose box contains the hole's.
        order: what is drawn over what: "file" (later over earlier), "smaller_on_top", or a list of classes, each drawn
            over those named before it; classes that are not named lie lowest.

    """

    line_width: int = 10
    point_radius: float = 5
    hole_label: str | None = None
    order: str | Sequence[str] = "file"


def checked_drawing(
    line_width: int, point_radius: float, hole_label: str | None, order: str | Sequence[str]
) -> Drawing:
    """Return how to draw.

    Raises:
        ValueError: a width or radius that cannot be.

    """
    if not 1 <= line_width <= 10000:
        raise ValueError(f"line_width: {line_width} must be 1 to 10000 pixels")
    if not 0 <= point_radius <= 10000:
        raise ValueError(f"point_radius: {point_radius} must be 0 to 10000 pixels")
    ranked = order
    if order not in ORDERS:
        ranked = [plain(name) for name in ([order] if isinstance(order, str) else order)]
    return Drawing(line_width, point_radius, plain(hole_label) if hole_label else None, ranked)


def check_order(drawing: Drawing, values: Mapping[str, int]) -> None:
    """Refuse an order of drawing that names what is no class.

    Raises:
        ValueError: naming it.

    """
    if isinstance(drawing.order, str):
        return
    if unknown := [name for name in drawing.order if name not in values]:
        raise ValueError(
            f"order: {', '.join(unknown)} is no class; it is file, smaller_on_top, or some of {', '.join(values)}"
        )


def draw_shapes(
    shapes: Sequence[Shape], size: Size, values: Mapping[str, int], drawing: Drawing, where: object
) -> np.ndarray:
    """Draw shapes over background.

    Args:
        shapes: in file order.
        size: of the image that they were drawn on.
        values: label -> value of its pixels, for every label but the hole label.
        drawing: widths, holes and order.
        where: the file, for errors.

    Returns:
        uint8 (H, W), 0 where nothing is drawn.

    Raises:
        ValueError: a shape far outside of the image, a mask that does not fit its box, an outline too tangled to fill.

    """
    image = Image.new("L", (size.width, size.height))
    holes: dict[int, list[int]] = {}
    solid: Iterable[int] = range(len(shapes))
    if drawing.hole_label is not None:
        holes = _owners(shapes, drawing.hole_label)
        solid = [index for index in solid if shapes[index].label != drawing.hole_label]
    if drawing.order == "smaller_on_top":
        solid = sorted(solid, key=lambda index: -area(shapes[index], drawing))
    elif drawing.order != "file":
        ranks = {values[name]: rank for rank, name in enumerate(drawing.order)}
        solid = sorted(solid, key=lambda index: ranks.get(values[shapes[index].label], -1))

    draw = ImageDraw.Draw(image)
    for index in solid:
        value = values[shapes[index].label]
        if index not in holes:
            _paint(image, draw, shapes[index], value, drawing, f"{where}: shape {index + 1}")
            continue
        stencil = Image.new("L", image.size)
        cut = ImageDraw.Draw(stencil)
        _paint(stencil, cut, shapes[index], 255, drawing, f"{where}: shape {index + 1}")
        for hole in holes[index]:
            _paint(stencil, cut, shapes[hole], 0, drawing, f"{where}: shape {hole + 1}")
        image.paste(value, (0, 0), stencil)
    return np.array(image)


def area(shape: Shape, drawing: Drawing) -> float:
    """Return how many pixels a shape takes, about; a mask counts as its box."""
    x, y = shape.points[0::2], shape.points[1::2]
    if shape.kind == "circle":
        return math.pi * math.dist((x[0], y[0]), (x[1], y[1])) ** 2
    if shape.kind in ("line", "linestrip"):
        ends = list(zip(x, y, strict=True))
        return drawing.line_width * sum(math.dist(one, two) for one, two in pairwise(ends))
    if shape.kind in ("point", "points"):
        return len(x) * math.pi * drawing.point_radius**2
    if len(x) == 2:
        return abs(x[0] - x[1]) * abs(y[0] - y[1])
    return abs(sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in range(len(x)))) / 2


def _paint(
    image: Image.Image, draw: ImageDraw.ImageDraw, shape: Shape, value: int, drawing: Drawing, where: str
) -> None:
    """Draw a shape with one value, or refuse what would take for ever or wrap round."""
    points, kind = shape.points, shape.kind
    width, height = image.size
    x, y = points[0::2], points[1::2]
    if min(x) < -width or max(x) > 2 * width or min(y) < -height or max(y) > 2 * height:
        raise ValueError(
            f"{where} ({shape.label}) lies far outside of its image of {height}×{width} (height × width); was it "
            "drawn on another one?"
        )
    if len(x) > CROSSINGS:
        crossings = sum(abs(below - above) for above, below in pairwise(y)) / height
        if crossings > CROSSINGS:
            raise ValueError(f"{where} ({shape.label}) crosses each line of its image {crossings:.0f} times")
    if kind == "rectangle" and len(x) == 2:
        draw.rectangle((min(x), min(y), max(x), max(y)), fill=value, outline=value)
    elif kind == "circle":
        radius = math.sqrt((x[0] - x[1]) ** 2 + (y[0] - y[1]) ** 2)
        draw.ellipse((x[0] - radius, y[0] - radius, x[0] + radius, y[0] + radius), fill=value, outline=value)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=value, width=drawing.line_width)
    elif kind in ("point", "points"):
        radius = drawing.point_radius
        for across, down in zip(x, y, strict=True):
            draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill=value, outline=value)
    elif kind == "mask":
        stencil = _stencil(shape, f"{where} ({shape.label}, mask)")
        image.paste(value, (int(x[0]), int(y[0])), stencil)
    else:
        draw.polygon(points, fill=value, outline=value)


def _stencil(shape: Shape, where: str) -> Image.Image:
    """Return a mask shape's picture, 0 and 255, of the size of its box."""
    left, top, right, bottom = (int(value) for value in shape.points)
    box = (right - left + 1, bottom - top + 1)
    assert shape.mask is not None
    with open_image(decode(shape.mask, where), where) as picture:
        # Before decoding: a small file may announce a picture that fills the memory.
        if picture.size != box:
            raise ValueError(f"{where} is {picture.width}×{picture.height}, but its box {box[0]}×{box[1]}")
        try:
            values = np.asarray(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{where} is damaged or incomplete ({error})") from error
    if values.ndim != 2:
        raise ValueError(f"{where} is a colour picture; grey or black and white is expected")
    return Image.fromarray(np.where(values != 0, 255, 0).astype(np.uint8))


def _owners(shapes: Sequence[Shape], hole_label: str) -> dict[int, list[int]]:
    """Return the holes of each shape that has some, by position."""
    owners: dict[int, list[int]] = {}
    for number, hole in enumerate(shapes):
        if hole.label != hole_label:
            continue
        others = [index for index, shape in enumerate(shapes) if shape.label != hole_label]
        if hole.group is not None and (mates := [index for index in others if shapes[index].group == hole.group]):
            for index in mates:
                owners.setdefault(index, []).append(number)
            continue
        around = [index for index in others if index < number and _contains(shapes[index], hole)]
        if around:
            owners.setdefault(around[-1], []).append(number)
    return owners


def _contains(shape: Shape, hole: Shape) -> bool:
    left, top, right, bottom = _box(shape)
    inner = _box(hole)
    return left <= inner[0] and top <= inner[1] and right >= inner[2] and bottom >= inner[3]


def _box(shape: Shape) -> tuple[float, float, float, float]:
    x, y = shape.points[0::2], shape.points[1::2]
    if shape.kind == "circle":
        radius = math.dist((x[0], y[0]), (x[1], y[1]))
        return x[0] - radius, y[0] - radius, x[0] + radius, y[0] + radius
    return min(x), min(y), max(x), max(y)
