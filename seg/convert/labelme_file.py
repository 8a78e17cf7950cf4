"""labelme's JSON files: read without the labelme package, checked so that whatever comes out can be drawn.

Source: the format as labelme 2 to 7 write it, https://github.com/wkentaro/labelme; fields that old versions did not
write may be missing.
"""

import base64
import binascii
import io
import json
import math
import re
import unicodedata
import warnings
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from seg.data.images import Size

MANY: float = math.inf
KINDS: dict[str, tuple[float, ...]] = {
    "polygon": (3, MANY),
    "rectangle": (2, 2, 4, 4),  # labelme writes two opposite corners, other tools all four
    "oriented_rectangle": (4, 4),
    "rotation": (4, 4),  # X-AnyLabeling's name for the same
    "circle": (2, 2),  # the centre and a point of the rim
    "line": (2, 2),
    "linestrip": (2, MANY),
    "point": (1, 1),
    "points": (1, MANY),
    "mask": (2, 2),  # the first and the last pixel of the box that the picture fills
}
"""Shape type -> how many points it may have, as pairs of least and most."""


class Shape(NamedTuple):
    """A shape as it was drawn; `points` are x, y, x, y, … in pixels, `mask` the base64 text of a mask shape's PNG."""

    label: str
    kind: str
    points: list[float]
    group: Any = None
    mask: str | None = None


class Annotation(NamedTuple):
    """What a JSON file says: its shapes in file order, and of the image the path, size and content where given."""

    path: Path
    shapes: list[Shape]
    image_path: str | None
    size: Size | None
    image_data: str | None

    def fits(self, size: Size) -> bool:
        """Tell whether all points lie in an image of that size, or within a pixel of it."""
        for shape in self.shapes:
            across, down = shape.points[0::2], shape.points[1::2]
            if min(across) < -1 or max(across) > size.width + 1 or min(down) < -1 or max(down) > size.height + 1:
                return False
        return True


class NotLabelme(ValueError):
    """A JSON file of another kind: not an annotation that is broken, but none at all."""


def read_annotation(path: Path) -> Annotation:
    """Read an annotation file.

    Args:
        path: a JSON file, UTF-8, with or without a byte order mark.

    Raises:
        FileNotFoundError: there is no such file.
        NotLabelme: valid JSON that is no annotation.
        ValueError: not JSON, or a shape that cannot be drawn; naming the file, and the shape by number and label.

    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error}); open the file in labelme and save it again") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); the file is damaged or incomplete") from error
    if not isinstance(content, dict) or not content.keys() & {"shapes", "imagePath", "imageData"}:
        raise NotLabelme(f"{path}: no labelme annotation, it has no `shapes`")
    listed = content.get("shapes")
    if not isinstance(listed, list):
        raise ValueError(f"{path}: `shapes` is not a list of shapes; the file is damaged or incomplete")
    shapes = [_shape(entry, number, path) for number, entry in enumerate(listed, 1)]
    image_path, image_data = content.get("imagePath"), content.get("imageData")
    return Annotation(
        path,
        shapes,
        image_path if isinstance(image_path, str) and image_path.strip() else None,
        _size(content.get("imageHeight"), content.get("imageWidth")),
        image_data if isinstance(image_data, str) and image_data else None,
    )


def embedded_image(annotation: Annotation) -> bytes:
    """Return the bytes of the image file that an annotation holds.

    Raises:
        ValueError: the text is damaged.

    """
    assert annotation.image_data is not None
    return decode(annotation.image_data, f"{annotation.path}: imageData")


def embedded_head(annotation: Annotation) -> tuple[str, Size]:
    """Return the format (jpeg, png, …) and the stored size of the image that an annotation holds, without decoding it.

    Raises:
        ValueError: it is damaged, or no image.

    """
    with open_image(embedded_image(annotation), f"{annotation.path}: imageData") as image:
        return str(image.format).lower(), Size(image.height, image.width)


def decode(text: str, where: str) -> bytes:
    """Return the bytes behind a base64 text.

    Raises:
        ValueError: naming `where`.

    """
    try:
        # Line breaks inside are what some tools write, and strict decoding would refuse them; anything else it finds.
        return base64.b64decode("".join(text.split()).rpartition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{where} is damaged or incomplete ({error})") from error


def open_image(data: bytes, where: str) -> Image.Image:
    """Open an image file in memory and read its head.

    Raises:
        ValueError: naming `where`.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where} is not an image that can be read ({error})") from error


def plain(text: str) -> str:
    """Return a name as names are compared: characters composed (macOS decomposes them), single blanks between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _shape(entry: Any, number: int, path: Path) -> Shape:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: shape {number} is not an object with label and points")
    label = _label(entry.get("label"))
    where = f"{path}: shape {number}"
    if not label:
        raise ValueError(f"{where} has no label ({entry.get('label')!r}); name it in labelme")
    kind = entry.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{where} ({label}): shape_type {kind!r} is not known; it is one of {', '.join(KINDS)}")
    where = f"{where} ({label}, {kind})"
    points = _points(entry.get("points"), where)
    limits, found = KINDS[kind], len(points) // 2
    if not any(least <= found <= most for least, most in zip(limits[0::2], limits[1::2], strict=True)):
        wanted = f"at least {limits[0]:.0f}" if limits[1] == MANY else " or ".join(f"{n:.0f}" for n in limits[0::2])
        raise ValueError(f"{where} has {found} points, but needs {wanted}; correct it in labelme, or delete it")
    mask = entry.get("mask")
    if kind == "mask" and not isinstance(mask, str):
        raise ValueError(f"{where} holds no picture (`mask`)")
    return Shape(label, kind, points, entry.get("group_id"), mask if kind == "mask" else None)


def _points(points: Any, where: str) -> list[float]:
    """Return x, y, x, y, … as they are: labelme hands the numbers to Pillow unrounded, and so do we."""
    try:
        if set(map(len, points)) - {2}:
            raise TypeError
        flat = list(chain.from_iterable(points))
        if set(map(type, flat)) - {float, int} or not all(map(math.isfinite, flat)):
            raise TypeError
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{where}: points are not a list of [x, y] with finite numbers") from error
    return flat


def _label(label: Any) -> str:
    """Return a label as text: tools that count their classes write 1, 1.0 or "1" for the same."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label) if abs(label) < 10**9 else ""
    # Half a surrogate pair is text that no file can hold.
    return plain(label) if isinstance(label, str) and not re.search("[\ud800-\udfff]", label) else ""


def _size(height: Any, width: Any) -> Size | None:
    """Return the size that a file states, None where it states none that an image can have."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (height, width)):
        return None
    if not all(0 < value < 10**9 and value == int(value) for value in (height, width)):
        return None
    return Size(int(height), int(width))
