"""Shapes: a segmentation data set drawn by code, small enough to draw, train and judge in a coffee break."""

import json
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from seg.convert.palette import write_indexed
from seg.data.shapes_drawing import COLORS, NAMES, generate

__all__ = ["COLORS", "NAMES", "generate", "write_tree"]

RECORD = "shapes.json"
VERSION = 1  # of the drawing: goes up with every change that moves a pixel


def write_tree(root: str | Path, seed: int = 0, train: int = 240, val: int = 60, test: int = 60) -> bool:
    """Draw the data set as a Pascal VOC tree, unless it is there already.

    The tree appears whole or not at all: it is drawn beside its place and renamed, so that an interrupted run leaves
    nothing behind and of several processes one wins. Nothing that exists is ever changed.

    Args:
        root: folder to make: JPEGImages, SegmentationClass, ImageSets/Segmentation/{train,val,test}.txt, shapes.json.
        seed: of the drawing, 0..2³² − 1.
        train: number of training images.
        val: number of validation images.
        test: number of test images.

    Returns:
        whether it was drawn now.

    Raises:
        ValueError: the folder holds something else than this very tree, or a number is out of range.
        OSError: the folder cannot be written.
    """
    root = Path(root)
    counts = {"train": train, "val": val, "test": test}
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: {seed} is not in 0..4294967295")
    for split, number in counts.items():
        if number < (split != "test"):
            raise ValueError(f"{split}: {number} images; Shapes needs 1 or more for train and val, 0 or more for test")
    record = {"version": VERSION, "seed": seed, **counts}
    if _is_there(root, record):
        return False

    root.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        tree = temporary / root.name  # a folder of its own: mkdtemp's can be read by nobody else
        _draw(tree, seed, counts)
        (tree / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
        try:
            if root.is_dir():
                root.rmdir()  # refuses unless empty
            os.rename(tree, root)
        except OSError:
            if not _is_there(root, record):  # else another process was faster, and drew the same
                raise
            return False
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_there(root: Path, record: dict[str, int]) -> bool:
    """Tell whether the very tree exists (else nothing does); raise if something else lies in its place."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    cure = "choose another root, or remove the folder yourself if nothing in it is needed"
    try:
        found = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"root: {root} exists and was not drawn by Shapes (no readable {RECORD}); {cure}") from None
    if found != record:
        raise ValueError(f"root: {root} holds Shapes drawn with {found}, but {record} is asked for; {cure}")
    return True


def _draw(tree: Path, seed: int, counts: dict[str, int]) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tree / folder).mkdir(parents=True)
    start = 0
    for split, number in counts.items():
        names = [f"{index:06d}" for index in range(start, start + number)]
        for index, name in enumerate(names, start):
            image, mask = generate(index, seed)
            Image.fromarray(image).save(tree / "JPEGImages" / f"{name}.jpg", quality=95, subsampling="4:4:4")
            write_indexed(tree / "SegmentationClass" / f"{name}.png", mask, COLORS)
        text = "".join(f"{name}\n" for name in names)
        (tree / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(text, encoding="utf-8")
        start += number
