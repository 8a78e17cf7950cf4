"""Cityscapes polygons to the masks that the data set itself has, pixel for pixel, and predictions to what it scores.

Source: cityscapesScripts, preparation/json2labelImg.py (which objects are drawn, in which order) and
evaluation/evalPixelLevelSemanticLabeling.py (how predictions are named). Which pixels a polygon covers is told in
`seg.convert.rasterize`: the official masks were drawn by a rasteriser that today's libraries no longer have.
"""

import argparse
import difflib
import json
import re
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg.convert.batch import Job, Summary, convert_all
from seg.convert.cityscapes_labels import LABELS, TRAIN_LABELS
from seg.convert.png import write_grey
from seg.convert.rasterize import fill_polygons

KINDS = {
    "labelIds": {label.name: label.id for label in LABELS},
    "labelTrainIds": {label.name: label.train_id for label in LABELS},
}
"""Kind of mask, as it stands in file names -> label -> value in such masks."""
TREE = (
    "Expected:\n"
    "  {root}/leftImg8bit/train/<city>/<city>_<sequence>_<frame>_leftImg8bit.png   also val, test, train_extra\n"
    "  {root}/gtFine/train/<city>/…_gtFine_polygons.json   or …_labelIds.png, …_labelTrainIds.png\n"
    "  {root}/gtCoarse/train_extra/<city>/…_gtCoarse_polygons.json   for coarse annotations\n"
    "Get leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip at https://www.cityscapes-dataset.com (an account is "
    "needed) and unpack both in {root}."
)
"""The files of the data set, for errors; {root} is to be filled in."""
MOST_PIXELS = 1 << 27
"""Height times width of an annotation, at most; a frame has 2 million pixels."""
_DRAWN = {label.name for label in LABELS if label.id >= 0}
_KNOWN = {label.name for label in LABELS}
_FRAME = re.compile(r"[^_]+_\d{6}_\d{6}(?=[_.]|$)")


class Annotation(NamedTuple):
    """What an annotation file says: the size in pixels, and the polygons that are drawn, in file order.

    `points` is float64 (N, 2), x and y of all corners; `lengths` the corners of each polygon, `labels` its label.
    """

    height: int
    width: int
    points: np.ndarray
    lengths: list[int]
    labels: list[str]


def read_annotation(path: str | Path) -> Annotation:
    """Read a _polygons.json file.

    As in the official scripts, an unknown label that ends in "group" is taken without it, and objects marked as
    deleted are left out, as are those whose label has a negative id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, or an unknown label; the message names the file.

    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        held = json.loads(data)
        height, width = held["imgHeight"], held["imgWidth"]
        objects = held["objects"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is not an annotation of Cityscapes, or is damaged: {what}") from error
    if not (type(height) is type(width) is int and height > 0 and width > 0 and height * width <= MOST_PIXELS):
        raise ValueError(
            f"{path}: imgHeight {str(height)[:40]} and imgWidth {str(width)[:40]} must be whole numbers above 0, "
            f"of {MOST_PIXELS} pixels together at most"
        )
    if not isinstance(objects, list):
        raise ValueError(f"{path}: objects must be a list, not {type(objects).__name__}")
    numbers: list[list[float]] = []
    labels = []
    for position, item in enumerate(objects):
        try:
            label = item["label"]
            label = label if label in _KNOWN else label.removesuffix("group")
            if label not in _KNOWN:
                raise ValueError(f"unknown label '{item['label'][:80]}'{_nearest(label)}")
            if item.get("deleted") or label not in _DRAWN:
                continue
            numbers.append(_numbers(item["polygon"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = type(error) is ValueError
            what = str(error) if told else "it needs a label (text) and a polygon (a list of [x, y])"
            raise ValueError(f"{path}: object {position}: {what}") from error
        labels.append(label)
    try:
        points = np.array(list(chain.from_iterable(numbers)), np.float64).reshape(-1, 2)
    except OverflowError as error:
        raise ValueError(f"{path}: a coordinate is too large for any image") from error
    return Annotation(height, width, points, [len(polygon) // 2 for polygon in numbers], labels)


def draw(annotation: Annotation, kind: str) -> np.ndarray:
    """Return the mask of an annotation, uint8 (height, width).

    Args:
        annotation: as read.
        kind: "labelIds" or "labelTrainIds"; what no polygon covers is unlabeled, 0 or 255.

    Raises:
        ValueError: coordinates that are no pixels, see `seg.convert.rasterize.fill_polygons`.

    """
    values = KINDS[kind]
    mask = np.full((annotation.height, annotation.width), values["unlabeled"], np.uint8)
    fill_polygons(mask, annotation.points, annotation.lengths, [values[label] for label in annotation.labels])
    return mask


def read_polygons(path: str | Path, kind: str) -> np.ndarray:
    """Return the mask, uint8 (height, width), that a _polygons.json file describes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming the file, see `read_annotation` and `draw`.

    """
    annotation = read_annotation(path)
    try:
        return draw(annotation, kind)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def frame_of(path: str | Path) -> str:
    """Return the <city>_<sequence>_<frame> that the name of one of the data set's files begins with.

    Raises:
        ValueError: another name.

    """
    if found := _FRAME.match(Path(path).name):
        return found.group()
    raise ValueError(
        f"{path}: Cityscapes is evaluated by names that begin with <city>_<sequence>_<frame>, such as "
        "berlin_000000_000019_leftImg8bit.png; give images of the data set"
    )


def ids_of(mask: np.ndarray) -> np.ndarray:
    """Return a mask of the 19 training classes, uint8 (H, W), as the ids that the evaluation expects."""
    table = np.zeros(256, np.uint8)
    table[: len(TRAIN_LABELS)] = [label.id for label in TRAIN_LABELS]
    return np.asarray(table[mask])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `seg convert cityscapes`."""
    parser.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds gtFine or gtCoarse, or both")
    parser.add_argument(
        "--ids", choices=list(KINDS), required=True, help="values of the masks: all 34 ids, or the 19 that are trained"
    )


def convert(
    root: Path, ids: str, out: Path, workers: int | None = None, overwrite: bool = False
) -> tuple[Summary, str]:
    """Convert all polygons of a data set to masks, in the official tree and with the official names.

    Args:
        root: folder that holds gtFine, gtCoarse or both; all their splits and cities are converted.
        ids: "labelIds" or "labelTrainIds".
        out: folder that gets the same tree; `root` itself puts masks beside the polygons.
        workers: see `convert_all`.
        overwrite: see `convert_all`.

    Returns:
        what was done, and what the files are called in the summary.

    Raises:
        FileNotFoundError: there are no polygons.
        ValueError: out, or a folder that it lies in, is a file.

    """
    if files := [place for place in (out, *out.parents) if place.is_file()]:
        raise ValueError(f"--out {out}: {files[0]} is a file; give a folder")
    sources = sorted(path for name in ("gtFine", "gtCoarse") for path in root.glob(f"{name}/*/*/*_polygons.json"))
    if not sources:
        raise FileNotFoundError(f"{root}: there are no polygons to convert.\n{TREE.format(root=root)}")
    jobs = []
    for source in sources:
        name = source.name.removesuffix("polygons.json") + f"{ids}.png"
        jobs.append(Job((source,), (out / source.parent.relative_to(root) / name,), ids))
    # The kind of mask is no setting: it is part of the names, so that both kinds can lie side by side.
    return convert_all(jobs, _convert, out, None, workers, overwrite), f"{ids} masks"


def _convert(job: Job) -> None:
    write_grey(job.targets[0], read_polygons(job.inputs[0], job.data))


def _numbers(polygon: Any) -> list[float]:
    """Return x, y, x, y, … of a list of [x, y]."""
    flat = list(chain.from_iterable(polygon))
    if type(polygon) is not list or set(map(len, polygon)) - {2} or set(map(type, flat)) - {int, float}:
        raise TypeError
    return flat


def _nearest(label: str) -> str:
    close = difflib.get_close_matches(label[:80], _KNOWN, n=1)
    return f"; did they mean '{close[0]}'?" if close else ""
