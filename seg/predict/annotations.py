"""Predictions as files that labelme opens, to be corrected by hand and trained on again; what a hand has touched stays.

A file says of itself, under `seg`, what it looked like when it was written. labelme keeps that entry when it saves, but
writes the rest in its own way: so every file that a person has saved is told from those that nobody has.
"""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg.convert.labelme_images import orientation
from seg.convert.labelme_labels import BACKGROUND_LABEL, IGNORE_LABEL
from seg.convert.masks import LABELME_VERSION
from seg.convert.outlines import drawn, is_background, mask_to_shapes
from seg.convert.png import color_chunks
from seg.data.decoding import PILLOW_ERRORS
from seg.files import read_lines, replacing
from seg.predict.kinds import Annotating, ByHand, Predicted
from seg.predict.visible import bands

UNCERTAIN = "uncertain"
"""The flag of shapes and images whose mean confidence is low."""


def write_annotation(target: Path, predicted: Predicted, annotating: Annotating) -> None:
    """Write the labels of an image as polygons, each with its mean confidence, whole or not at all.

    Raises:
        ByHand: the file that is there has been made or corrected by hand, and is not to be replaced.

    """
    assert predicted.confidence is not None
    height, width = predicted.labels.shape
    shapes = mask_to_shapes(predicted.labels, predicted.names, annotating.tolerance)
    for shape, confidence in zip(shapes, confidences(shapes, predicted.confidence), strict=True):
        shape["description"] = f"confidence {confidence:.2f}"
        shape["flags"] = {UNCERTAIN: confidence < annotating.uncertain_below}
    image = Path(os.path.relpath(predicted.path.parent.resolve() / predicted.path.name, target.parent.resolve()))
    document = {
        "seg": {"written": ""},
        "version": LABELME_VERSION,
        "flags": {UNCERTAIN: predicted.certainty < annotating.uncertain_below},
        "shapes": shapes,
        "imagePath": image.as_posix(),
        "imageData": embedded(predicted) if annotating.embed or not is_shown(predicted.path) else None,
        "imageHeight": height,
        "imageWidth": width,
    }
    document["seg"] = {"written": _digest(document)}
    with replacing(target) as temporary:
        temporary.write_text(_text(document), encoding="utf-8")
        if not annotating.replace and made_by_hand(target):  # it may have been saved since the run began
            raise ByHand(str(target))


def confidences(shapes: list[dict[str, Any]], confidence: np.ndarray) -> list[float]:
    """Return the mean confidence of what each shape shows, of 0..1; 1 where later shapes hide it.

    Args:
        shapes: polygons in the order they are drawn in.
        confidence: uint8 (H, W), 255 for 1.

    """
    pixels, sums = np.zeros(len(shapes) + 1, np.int64), np.zeros(len(shapes) + 1)
    for rows, last in drawn(confidence.shape, [np.asarray(shape["points"]) for shape in shapes]):
        pixels += np.bincount(last.ravel(), minlength=len(pixels))
        sums += np.bincount(last.ravel(), weights=confidence[rows].ravel(), minlength=len(pixels))
    return [
        total / (255 * count) if count else 1.0
        for total, count in zip(sums[1:].tolist(), pixels[1:].tolist(), strict=True)
    ]


def embedded(predicted: Predicted) -> str:
    """Return the image as labelme holds it inside a file: the bytes of a JPEG or PNG that is upright, in base64."""
    path = predicted.path
    if path.suffix.lower() in (".jpg", ".jpeg", ".png") and is_shown(path) and orientation(path) == 1:
        return base64.b64encode(path.read_bytes()).decode("ascii")
    assert predicted.visible is not None
    height, width = predicted.labels.shape
    upright = color_chunks(map(predicted.visible.rows, bands(height, width)), height, width)
    return base64.b64encode(b"".join(upright)).decode("ascii")


def is_shown(path: Path) -> bool:
    """Tell whether labelme shows an image file: one of 8 bits that Pillow reads, and writes as labelme makes it do."""
    try:
        with Image.open(path) as picture:
            return picture.format == "JPEG" or picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
    except PILLOW_ERRORS:
        return False


def made_by_hand(target: Path) -> bool:
    """Tell whether a file is there that `seg predict` did not write, or that has been saved by anyone else since."""
    try:
        text = target.read_text(encoding="utf-8")
        document = json.loads(text)
        written = document["seg"]["written"]
        document["seg"] = {"written": ""}
        return _digest(document) != written or _text(document | {"seg": {"written": written}}) != text
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True


def unseen(path: Path) -> bool:
    """Tell whether an annotation is a prediction that nobody has saved since it was written."""
    with open(path, "rb") as file:
        begun = file.read(32)
    return b'"seg"' in begun and not made_by_hand(path)  # labelme puts the entry last


def image_of(target: Path) -> Path | None:
    """Return the image that an annotation names, where that is there."""
    try:
        said = json.loads(target.read_text(encoding="utf-8"))["imagePath"].replace("\\", "/")
        image = Path(os.path.normpath(target.parent.resolve() / said))
        return image if image.is_file() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write_labels(folder: Path, names: list[str]) -> str | None:
    """Write the class list beside annotations, as labelme and `seg.data.Labelme` read it; return a remark if need be.

    A list that is there stays, for a person may have added a class.
    """
    path = folder / "labels.txt"
    wanted = [IGNORE_LABEL, *([BACKGROUND_LABEL, *names[1:]] if is_background(names[0]) else names)]
    if not path.exists():
        with replacing(path) as temporary:
            temporary.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        return None
    try:
        listed = [name for line in read_lines(path) if (name := line.strip())]
    except ValueError as error:  # the predictions are made by now, and their tables are still to be written
        return str(error)
    if missing := [name for name in wanted if name not in listed]:
        return f"{path} was there and stays; it does not name {', '.join(missing)}"
    return None


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(_text(document).encode()).hexdigest()


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
