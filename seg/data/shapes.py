"""Shapes: a segmentation data set drawn by code, small enough to draw, train and judge in a coffee break."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from seg.convert.palette import write_indexed
from seg.data.shapes_drawing import COLORS, NAMES, generate
from seg.data.voc import VOC

__all__ = ["COLORS", "NAMES", "Shapes", "generate", "write_tree"]

RECORD = "shapes.json"
VERSION = 1  # of the drawing: goes up with every change that moves a pixel


class Shapes(VOC):
    """Draw a data set of seven kinds of shapes, once, and read it: what to try things on, without a download.

    Circles, squares, triangles, stars, rings, crosses and rare small hearts on textured
    grounds; the images are 96 to 160 pixels a side.

    Args:
        root: folder of the data set, drawn if it is not there.
        drawing_seed: another one gives other images; the same gives the same, bit for bit.
        train_images: number of images to train on.
        val_images: number of images to validate on.
        test_images: number of images to test on; with 0, validation is tested.
        crop: [height, width] in pixels that the default augmentation cuts out to train on.
        **kwargs: see `SegmentationData`.

    """

    tree = "Shapes draws what belongs there by itself; remove the folder {root} to have it drawn again."

    def __init__(
        self,
        root: str = "data/shapes",
        drawing_seed: int = 0,
        train_images: int = 240,
        val_images: int = 60,
        test_images: int = 60,
        crop: tuple[int, int] = (96, 96),
        **kwargs: Any,
    ) -> None:
        colors = [list(color) for color in COLORS]
        # What is named here is settled, and so is not offered in a configuration.
        super().__init__(
            root,
            classes=list(NAMES),
            colors=colors,
            crop=crop,
            image_dir="JPEGImages",
            mask_dir="SegmentationClass",
            split_dir="ImageSets/Segmentation",
            train_split="train",
            val_split="val",
            test_split="test",
            download=False,
            url="",
            md5="",
            label_map=None,
            **kwargs,
        )
        self.drawing_seed = drawing_seed
        self.image_counts = _checked(drawing_seed, train_images, val_images, test_images)

    def prepare_data(self) -> None:
        """Draw the data set if it is not there; called by one process of a machine."""
        write_tree(self.root, self.drawing_seed, *self.image_counts.values())

    def has_test(self) -> bool:
        """Tell whether there are test images, drawn already or not."""
        return self.image_counts["test"] > 0


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
    counts = _checked(seed, train, val, test)
    record = {"version": VERSION, "seed": seed, **counts}
    if _is_there(root, record):
        return False

    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    except OSError as error:
        raise OSError(f"root: Shapes cannot be drawn below {root.parent} ({error}); choose another root") from error
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


def _checked(seed: int, train: int, val: int, test: int) -> dict[str, int]:
    """Return the number of images a split, or raise ValueError."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"drawing_seed: {seed} is not in 0..4294967295")
    counts = {"train": train, "val": val, "test": test}
    for split, number in counts.items():
        least = 0 if split == "test" else 1
        if number < least:
            raise ValueError(f"{split}_images: {number} must be at least {least}")
    return counts


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
