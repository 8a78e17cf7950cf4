"""COCO's instances to a tree in Pascal VOC's layout: `seg convert coco`."""

import argparse
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from seg.convert.batch import Job, Skip, Summary, convert_all
from seg.convert.coco_drawing import CROWD, draw
from seg.convert.coco_file import Frame, category_values, class_names, read_instances
from seg.convert.labelme_labels import IGNORE_LABEL as IGNORED
from seg.convert.palette import voc_colors, write_indexed
from seg.data.classes import Classes
from seg.data.images import IMAGE_SUFFIXES, Size, read_size
from seg.files import replacing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `seg convert coco`."""
    parser.add_argument("annotations", type=Path, metavar="ANN.json", help="instances: images, annotations, categories")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--split", help="name of the list; as ANN.json's name has it (train, val, test), else train")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="categories that become classes; all if not given")
    parser.add_argument(
        "--merge",
        nargs="+",
        default=[],
        metavar="NEW=A,B",
        help="categories that become one class: pet=cat,dog",
    )
    parser.add_argument(
        "--others", choices=["background", "ignore"], default="background", help="what the other categories become"
    )
    parser.add_argument("--crowd", choices=CROWD, default="ignore", help="what crowd regions become (default: ignore)")


def convert(
    annotations: Path,
    images: Path,
    out: Path,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    merge: Sequence[str] = (),
    others: str = "background",
    crowd: str = "ignore",
    workers: int | None = None,
    overwrite: bool = False,
) -> tuple[Summary, str]:
    """Write JPEGImages, SegmentationClass and a list below `out`; images are copied byte for byte.

    Beside them come labels.txt and data.yaml, the config of `seg.data.VOC` that reads the result. Several annotation
    files (train, val) may be converted into one tree.

    Args:
        annotations: the instances file.
        images: folder of the images.
        out: folder to write to.
        split: name of the list, without .txt.
        classes: see `coco_file.class_names`.
        merge: texts NEW=A,B: the categories A and B become the class NEW.
        others: see `coco_file.category_values`.
        crowd: see `coco_drawing.draw`.
        workers: processes.
        overwrite: convert what is done already, too.

    Raises:
        FileNotFoundError: the annotations or the folder of the images are not there.
        ValueError: annotations or options that cannot be.

    """
    if not images.is_dir():
        raise FileNotFoundError(f"--images {images}: there is no such folder")
    split = split or next((name for name in ("train", "val", "test") if name in annotations.stem.lower()), "train")
    if not re.fullmatch(r"\w[\w.-]*", split):
        raise ValueError(f"--split {split}: this is no name of a list; letters, numbers, '-' and '_' make one")
    instances = read_instances(annotations)
    merged = dict(_merged(text) for text in merge)
    names = list(Classes(class_names(instances.categories, classes, merged)).names)
    values = category_values(instances.categories, names, merged, others)
    jobs, name_of = [], _flat_names(instances.frames)
    for frame in instances.frames:
        image, name = images / frame.path, name_of[frame.path]
        targets = out / "SegmentationClass" / f"{name}.png", out / "JPEGImages" / f"{name}{image.suffix.lower()}"
        jobs.append(Job((image, annotations), targets, (frame, values, crowd, len(names))))
    summary = convert_all(jobs, _convert, out, [values, names, crowd], workers, overwrite)
    made = {*summary.written, *summary.done}
    listed = [name_of[frame.path] for frame in instances.frames if images / frame.path in made]
    _write(out / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{name}\n" for name in listed))
    _write(out / "labels.txt", "".join(f"{name}\n" for name in [IGNORED, *names]))
    lines = "".join(f"      - {json.dumps(name, ensure_ascii=False)}\n" for name in names)
    text = "# python train.py --config voc_unet.yaml --config data.yaml --data.root <this folder>\n"
    _write(out / "data.yaml", f"{text}data:\n  class_path: seg.data.VOC\n  init_args:\n    classes:\n{lines}")
    return summary, "images with masks"


def size_of(frame: Frame, image: str | Path) -> Size:
    """Return an image's size as it is shown, after a comparison with what the annotations say.

    Raises:
        ValueError: they differ.

    """
    size = read_size(image)
    told = Size(frame.height or size.height, frame.width or size.width)
    if told != size:
        raise ValueError(
            f"image {image} is {size.height}×{size.width} (height × width, EXIF orientation applied) but is annotated "
            f"as {told.height}×{told.width}; give the images that the annotations were made on"
        )
    return size


def _convert(job: Job) -> None:
    frame, values, crowd, classes = job.data
    image, annotations = job.inputs
    if image.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"{image}: its suffix is none of {', '.join(IMAGE_SUFFIXES)}")
    if not image.is_file():
        raise Skip("there is no such image")
    try:
        mask = draw(frame, *size_of(frame, image), values, crowd)
    except ValueError as error:
        raise ValueError(f"{annotations}: {error}") from None
    write_indexed(job.targets[0], mask, voc_colors(classes))
    with replacing(job.targets[1]) as temporary:
        shutil.copyfile(image, temporary)


def _flat_names(frames: Sequence[Frame]) -> dict[str, str]:
    """Return a name without folders and blanks for each image: its stem, or its whole path where stems repeat."""
    paths = [PurePosixPath(frame.path).with_suffix("") for frame in frames]
    unique = len({path.name for path in paths}) == len(paths)
    names = [path.name if unique else "__".join(path.parts) for path in paths]
    return {frame.path: re.sub(r"\s+", "_", name) for frame, name in zip(frames, names, strict=True)}


def _merged(text: str) -> tuple[str, list[str]]:
    name, found, parts = text.partition("=")
    if not found or not name or not all(parts.split(",")):
        raise ValueError(f"--merge: '{text}' is not NEW=A,B, the name of a class and the categories it is made of")
    return name, parts.split(",")


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())
