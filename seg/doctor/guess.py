"""What kind of data set a folder holds, for `seg doctor data FOLDER`: guessed from its tree, and said."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg.convert.palettes import VOC_CLASSES
from seg.convert.tree import files_below
from seg.data.base import SegmentationData
from seg.data.classes import IGNORE
from seg.data.images import IMAGE_SUFFIXES, read_mask

_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "photos", "inputs", "input", "data")
_MASKS = ("masks", "mask", "labels", "label", "segmentationclass", "segmentationclasspng", "annotations", "annots",
          "gt", "groundtruth", "ground_truth", "targets", "target")  # fmt: skip
_LOOKED_AT = 200


class Guess(NamedTuple):
    """A data module for a folder, what it was taken for, and whether the class names are made up."""

    data: SegmentationData
    text: str


def guess(root: Path) -> Guess:
    """Return the data module that reads a folder.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds nothing that is known, or nothing that can be learnt.

    """
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give one, or --config")
    import seg.data as modules

    where = str(root)
    if (root / "leftImg8bit").is_dir():
        kind = "fine" if (root / "gtFine").is_dir() else "coarse"
        return Guess(modules.Cityscapes(where, annotations=kind), "Cityscapes' tree (leftImg8bit)")  # type: ignore[arg-type]
    if (root / "train.txt").is_file() and (root / "trainannot").is_dir():
        return Guess(modules.CamVid(where), "CamVid's tree (train.txt, trainannot)")
    for inner in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (inner / "JPEGImages").is_dir() and (inner / "SegmentationClass").is_dir():
            names = _names(inner / "SegmentationClass", voc=True)
            return Guess(modules.VOC(str(inner), classes=names), f"Pascal VOC's tree (JPEGImages); {_said(names)}")
    if (found := _two_folders(root)) is not None:
        images, masks, image_dir, mask_dir = found
        names = _names(masks)
        lists = root / "ImageSets"
        listed = next((folder for folder in (lists / "Segmentation", lists) if any(folder.glob("*.txt"))), None)
        if listed is not None:
            data: Any = modules.VOC(
                where, names, image_dir=image_dir, mask_dir=mask_dir, split_dir=str(listed.relative_to(root))
            )
        else:
            data = modules.Folder(where, names, image_dir=image_dir, mask_dir=mask_dir)
        return Guess(data, f"images in {images.name}, masks in {masks.name}; {_said(names)}")
    if next(_labelme_files(root), None) is not None:
        return Guess(modules.Labelme(where), "labelme annotations (JSON files with shapes)")
    raise ValueError(
        f"{root} is of no kind that is known: neither labelme's JSON files, nor the trees of Pascal VOC, Cityscapes or "
        "CamVid, nor two folders such as images and masks; describe it with --config"
    )


def _labelme_files(root: Path) -> Iterator[Path]:
    """Yield the JSON files that labelme wrote, or that are too damaged to tell."""
    for path in files_below(root, (".json",)):
        with suppress(OSError):
            try:
                content = json.loads(path.read_bytes())
            except (ValueError, RecursionError):
                yield path
                continue
            if isinstance(content, dict) and "shapes" in content:
                yield path


def _two_folders(root: Path) -> tuple[Path, Path, str, str] | None:
    """Return the folders of images and masks, and how `Folder` writes them, where there are such."""
    folders = {path.name.casefold(): path for path in sorted(root.iterdir()) if path.is_dir()}
    images = next((folders[name] for name in _IMAGES if name in folders), None)
    masks = next((folders[name] for name in _MASKS if name in folders), None)
    if images and masks and files_below(masks, IMAGE_SUFFIXES):
        return images, masks, images.name, masks.name
    for split in ("train", "training"):
        if split in folders and (inner := _two_folders(folders[split])) is not None:
            return inner[0], inner[1], f"{{split}}/{inner[0].name}", f"{{split}}/{inner[1].name}"
    return None


def _names(folder: Path, voc: bool = False) -> list[str]:
    """Return class names for the values of a folder's masks."""
    seen: set[int] = set()

    def look(path: Path) -> set[int]:
        with suppress(ValueError, OSError):
            return set(np.unique(read_mask(path)).tolist())
        return set()

    paths = files_below(folder, IMAGE_SUFFIXES)
    with ThreadPoolExecutor() as pool:
        seen.update(*pool.map(look, paths[:: -(-len(paths) // _LOOKED_AT) or 1]))
    values = sorted(seen - {IGNORE})
    if voc and len(values) > 2 and values[-1] < len(VOC_CLASSES):
        return list(VOC_CLASSES)
    count = values[-1] + 1 if values and values[-1] < 2 * len(values) else len(values)
    return ["background", *(f"class {number}" for number in range(1, max(count, 2)))]


def _said(names: list[str]) -> str:
    return "the official classes" if names[1] == VOC_CLASSES[1] else f"{len(names)} classes by the values in the masks"
