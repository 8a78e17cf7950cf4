"""labelme annotations to a tree in Pascal VOC's layout: `seg convert labelme`."""

import argparse
import json
import re
import shutil
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from seg.convert.batch import Job, Summary, convert_all
from seg.convert.labelme_file import embedded_head, embedded_image
from seg.convert.labelme_images import frame_of, orientation
from seg.convert.labelme_labels import IGNORE_LABEL, label_values, read_labels, write_found
from seg.convert.labelme_shapes import Drawing, check_order, checked_drawing
from seg.convert.labelme_sources import Source, draw_mask, read_sources
from seg.convert.labelme_splits import drawn_split, own_split
from seg.convert.palette import voc_colors, write_indexed
from seg.data.images import IMAGE_SUFFIXES, read_image
from seg.files import replacing

FEW = 500
"""Files up to which starting worker processes takes longer than converting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `seg convert labelme`."""
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of JSON files and images, or one JSON file")
    parser.add_argument(
        "--labels", type=Path, help="a class a line; SRC/labels.txt where not given, or what the files hold"
    )
    parser.add_argument(
        "--alias", action="append", default=[], metavar="LABEL=CLASS", help="a label that means another; again for more"
    )
    parser.add_argument("--line-width", type=int, default=10, help="of line and linestrip, in pixels (10)")
    parser.add_argument("--point-radius", type=float, default=5, help="of point, in pixels (5)")
    parser.add_argument("--hole-label", help="shapes of this label are cut out of the shape around them")
    parser.add_argument(
        "--order",
        nargs="+",
        default=["file"],
        metavar="ORDER",
        help="file (later shapes over earlier), smaller_on_top, or class names, each over those before it",
    )
    parser.add_argument("--val-fraction", type=float, default=0.2, help="share that validates (0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (0)")


def convert(
    src: Path,
    out: Path,
    labels: Path | None = None,
    alias: Sequence[str] = (),
    line_width: int = 10,
    point_radius: float = 5,
    hole_label: str | None = None,
    order: Sequence[str] = ("file",),
    val_fraction: float = 0.2,
    seed: int = 0,
    workers: int | None = None,
    overwrite: bool = False,
) -> tuple[Summary, str]:
    """Convert a folder of labelme files to JPEGImages, SegmentationClass and ImageSets/Segmentation below `out`.

    Images that are upright are copied byte for byte, those turned by their EXIF orientation are saved upright. Beside
    them come labels.txt and data.yaml, the config of `seg.data.VOC` that trains on the result.

    Returns:
        What was done, and the word for it.

    Raises:
        FileNotFoundError: no annotation, or no list of labels where one is named.
        ValueError: an option that cannot be, or labels that are not in the list.

    """
    aliases = dict(_alias(text) for text in alias)
    if out.resolve() == src.resolve():
        raise ValueError(f"--out: {out} is the folder that is read; give another, which may lie in it")
    sources = read_sources(src, without=out)
    if not sources.good:
        sources.without_bad(skip_bad=False)
    drawing = checked_drawing(line_width, point_radius, hole_label, order[0] if len(order) == 1 else order)
    listed = labels or sources.root / "labels.txt"
    found = labels is None and not listed.is_file()
    names = sources.found(drawing, aliases) if found else read_labels(listed)
    values = label_values(names, aliases)
    check_order(drawing, values)
    sources.refuse_unknown(values, drawing)
    if found:
        write_found(sources.root, names)
    files = [source.annotation.path for source in sources.good]
    splits = own_split(files, sources.root) or drawn_split(files, sources.root, val_fraction, seed)

    jobs = [job_for(source, sources.root, out, values, drawing, len(names)) for source in sources.good]
    settings = {"drawing": drawing._asdict(), "values": values}
    few = workers is None and len(jobs) <= FEW
    summary = convert_all(jobs, convert_one, out, settings, 0 if few else workers, overwrite)
    summary.skipped.update(sources.skipped)
    summary.failed.update(sources.bad)
    made = {*summary.written, *summary.done}
    stems = {path: flat_name(path, sources.root) for path in made}
    for split, files in splits.items():
        if split != "test" or files:
            made_names = [stems[path] for path in files if path in made]
            _write(out / "ImageSets" / "Segmentation" / f"{split}.txt", "".join(f"{name}\n" for name in made_names))
    _write(out / "labels.txt", "".join(f"{name}\n" for name in [IGNORE_LABEL, *names]))
    lines = "".join(f"      - {json.dumps(name, ensure_ascii=False)}\n" for name in names)
    text = "# python train.py --config voc_unet.yaml --config data.yaml --data.root <this folder>\n"
    _write(out / "data.yaml", f"{text}data:\n  class_path: seg.data.VOC\n  init_args:\n    classes:\n{lines}")
    return summary, "images with masks"


def convert_one(job: Job) -> list[str]:
    """Write the mask and the image of one annotation; runs in worker processes.

    Raises:
        ValueError: a shape that cannot be drawn, or a damaged image; naming the file.

    """
    source, values, drawing, classes, encode = job.data
    image_target, mask_target = job.targets
    notes = list(source.notes)
    with replacing(image_target) as temporary:
        if source.image is None:
            temporary.write_bytes(embedded_image(source.annotation))
        image = source.image or temporary
        frame = source.frame or frame_of(source.annotation, image)[0]
        mask = draw_mask(source.annotation, frame, values, drawing)
        turned = orientation(image) != 1
        if encode or turned:
            upright = Image.fromarray(read_image(image))
            if temporary.suffix in (".jpg", ".jpeg"):
                upright.save(temporary, quality=95, subsampling=0)
            else:
                upright.save(temporary)
            notes += ["saved upright: its EXIF orientation was another"] if turned else []
        elif source.image is not None:
            shutil.copyfile(source.image, temporary)
        write_indexed(mask_target, mask, voc_colors(classes))
    return notes


def job_for(source: Source, root: Path, out: Path, values: Mapping[str, int], drawing: Drawing, classes: int) -> Job:
    """Return what `convert_one` does for an annotation: the files it reads and writes, and how it draws."""
    path = source.annotation.path
    if source.image is None:
        suffix = f".{embedded_head(source.annotation)[0]}".replace(".jpeg", ".jpg")
    else:
        suffix = source.image.suffix.lower()
    encode = suffix not in IMAGE_SUFFIXES
    name = flat_name(path, root)
    image = out / "JPEGImages" / f"{name}{'.png' if encode else suffix}"
    inputs = (path,) if source.image is None else (path, source.image)
    return Job(inputs, (image, out / "SegmentationClass" / f"{name}.png"), (source, values, drawing, classes, encode))


def flat_name(path: Path, root: Path) -> str:
    """Return a name for a file of a nested folder, without blanks, that no other file below the root has."""
    parts = path.relative_to(root).with_suffix("").parts
    name = "__".join(re.sub(r"\s+", "_", unicodedata.normalize("NFC", part)) for part in parts)
    # Where joining could give two files one name, a checksum of the whole path tells them apart.
    if name.split("__") == list(parts) and not any(part.startswith("_") or part.endswith("_") for part in parts):
        return name
    return f"{name}-{zlib.crc32(str(Path(*parts).as_posix()).encode()):08x}"


def _alias(text: str) -> tuple[str, str]:
    label, found, meant = text.partition("=")
    if not found or not label.strip() or not meant.strip():
        raise ValueError(f"--alias: '{text}' is not LABEL=CLASS")
    return label, meant


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())
