"""labelme files that the tests write, and labelme's own way to draw them: one mask a shape, laid over each other."""

import base64
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

ORIENTATION = 0x0112


def shape(label: Any, points: Any, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    entry = {"label": label, "points": points, "group_id": None, "flags": {}, **more}
    return entry if kind is None else {**entry, "shape_type": kind}


def square(left: float, top: float, side: float) -> list[list[float]]:
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]


def png(pixels: np.ndarray) -> str:
    """Return an array as a base64 PNG, as labelme keeps masks and images."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def write_image(path: Path, height: int = 40, width: int = 60, orientation: int = 1, seed: int = 0) -> Path:
    """Write an image of that upright size, stored turned where the orientation says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(photo(height, width, seed))
    # what brings the stored image upright again is the orientation's own turn; stored is the inverse
    inverse = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
    if orientation != 1:
        image = image.transpose(inverse[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image.save(path, exif=exif) if orientation != 1 else image.save(path)
    return path


def write_json(path: Path, shapes: list[Any], size: tuple[int, int] | None = (40, 60), **more: Any) -> Path:
    """Write an annotation; `more` replaces fields, and takes away those that are None."""
    fields: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{path.stem}.png"}
    if size is not None:
        fields |= {"imageHeight": size[0], "imageWidth": size[1]}
    fields = {name: value for name, value in {**fields, **more}.items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields, ensure_ascii=False), encoding="utf-8")
    return path


def write_pair(path: Path, shapes: list[Any], size: tuple[int, int] = (40, 60), seed: int = 0, **more: Any) -> Path:
    """Write an annotation and, beside it, its image."""
    write_image(path.with_suffix(".png"), *size, seed=seed)
    return write_json(path, shapes, size, **more)


def official_mask(size: tuple[int, int], shapes: list[Any], values: dict[str, int], width: int = 10, radius: float = 5):
    """Draw as labelme does: each shape in an image of its own, whose pixels then replace those of the shapes before."""
    label = np.zeros(size, np.int32)
    for entry in shapes:
        kind, points = entry.get("shape_type", "polygon"), [tuple(point) for point in entry["points"]]
        own = np.zeros(size, bool)
        if kind == "mask":
            (left, top), (right, bottom) = np.array(points).astype(int)
            picture = np.array(Image.open(io.BytesIO(base64.b64decode(entry["mask"])))).astype(bool)
            own[top : bottom + 1, left : right + 1] = picture
        else:
            image = Image.new("L", size[::-1])
            draw = ImageDraw.Draw(image)
            if kind == "circle":
                (x, y), rim = points
                r = math.dist((x, y), rim)
                draw.ellipse([(x - r, y - r), (x + r, y + r)], outline=1, fill=1)
            elif kind == "rectangle":
                (a, b), (c, d) = points
                draw.rectangle([(min(a, c), min(b, d)), (max(a, c), max(b, d))], outline=1, fill=1)
            elif kind in ("line", "linestrip"):
                draw.line(points, fill=1, width=width)
            elif kind == "point":
                ((x, y),) = points
                draw.ellipse([(x - radius, y - radius), (x + radius, y + radius)], outline=1, fill=1)
            else:
                draw.polygon(points, outline=1, fill=1)
            own = np.array(image, dtype=bool)
        label[own] = values[entry["label"]]
    return np.where(label < 0, 255, label).astype(np.uint8)
