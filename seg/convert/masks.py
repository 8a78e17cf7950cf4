"""Indexed masks to labelme's JSON: `seg convert masks`."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from seg.convert.batch import Job, Skip, Summary, convert_all
from seg.convert.labelme_labels import BACKGROUND_LABEL as BACKGROUND
from seg.convert.labelme_labels import IGNORE_LABEL as IGNORED
from seg.convert.outlines import check_tolerance, is_background, mask_to_shapes
from seg.convert.tree import files_below
from seg.data.images import IMAGE_SUFFIXES, read_mask, read_size
from seg.files import read_lines, replacing

LABELME_VERSION = "5.5.0"
"""The version of labelme whose file format is written; later ones read it too."""

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Suffixes of mask files: formats without loss."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `seg convert masks`."""
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of indexed or grey masks, searched deeply")
    parser.add_argument("--labels", type=Path, help="class names, one a line, that of value 0 first")
    parser.add_argument(
        "--tolerance", type=float, default=1.0, help="pixels that outlines may move, default 1; 0 keeps every pixel"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, found by the masks' names")


def convert(
    source: Path,
    out: Path,
    labels: Path | None = None,
    tolerance: float = 1.0,
    images: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> tuple[Summary, str]:
    """Write a labelme JSON for every mask.

    Args:
        source: folder of the masks; the tree below it is kept.
        out: folder to write to; `labels.txt` goes there too where labels are given.
        labels: file of the class names, a line each, the first of value 0; `__ignore__` is 255 and takes no number.
            Without it classes go by the number of their value, 0 being the background.
        tolerance: see `mask_to_shapes`.
        images: folder in which the image of each mask's name lies, at the same place of the tree or at the top.
            Without it the JSON names an image beside itself, which is to be put there.
        workers: processes.
        overwrite: convert what is done already, too.

    Raises:
        FileNotFoundError: a folder or the list of labels is not there.
        ValueError: no masks, no names, or a tolerance that cannot be.

    """
    check_tolerance(tolerance)
    names = [BACKGROUND, *map(str, range(1, 255))] if labels is None else read_names(labels)
    masks = files_below(source, MASK_SUFFIXES)
    if not masks:
        raise ValueError(f"{source}: there is no mask ({', '.join(MASK_SUFFIXES)}) in this folder or below it")
    found = None if images is None else _by_name(images)
    jobs = []
    for mask in masks:
        place = mask.relative_to(source).with_suffix("")
        target = out / place.parent / f"{place.name}.json"
        image = None if found is None else found.get(place.as_posix(), found.get(place.name))
        inputs = (mask,) if image is None else (mask, image)
        jobs.append(Job(inputs, (target,), (names, tolerance, images and str(images))))
    settings = [names, tolerance, images and str(images)]
    summary = convert_all(jobs, _convert, out, settings, workers, overwrite)
    if labels is not None:
        listed = [BACKGROUND, *names[1:]] if is_background(names[0]) else names
        with replacing(out / "labels.txt") as temporary:
            temporary.write_text("\n".join([IGNORED, *listed]) + "\n", encoding="utf-8")
    return summary, "labelme files"


def read_names(path: Path) -> list[str]:
    """Read class names, one a line; a byte order mark, CRLF, blanks and `__ignore__` do not matter.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, holds no names, or one twice.

    """
    if not path.is_file():
        raise FileNotFoundError(f"--labels {path}: there is no such file")
    names = [name for line in read_lines(path) if (name := line.strip()) and name != IGNORED]
    if not names or len(names) > 255:
        raise ValueError(f"{path} holds {len(names)} class names; 1 to 255 are expected, one a line")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} names {', '.join(twice)} twice; value n is the n-th name, so that each is one class")
    return names


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the images below a folder by their place without suffix; the likeliest where suffixes differ."""
    files = files_below(folder, IMAGE_SUFFIXES)
    files.sort(key=lambda path: IMAGE_SUFFIXES.index(path.suffix.lower()))
    found: dict[str, Path] = {}
    for path in files:
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def _convert(job: Job) -> None:
    names, tolerance, images = job.data
    if images and len(job.inputs) == 1:
        raise Skip(f"there is no image of its name in {images}")
    mask = read_mask(job.inputs[0])
    height, width = mask.shape
    target = job.targets[0]
    if images:
        image = job.inputs[1]
        if (size := read_size(image)) != (height, width):
            raise ValueError(
                f"the mask is {height}×{width} (height × width) but its image {image} is {size.height}×{size.width} "
                "as it is shown; polygons would lie beside what they outline"
            )
        path = Path(os.path.relpath(image.parent.resolve() / image.name, target.parent.resolve())).as_posix()
    else:
        path = f"{target.stem}.jpg"
    document: dict[str, Any] = {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": mask_to_shapes(mask, names, tolerance),
        "imagePath": path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
