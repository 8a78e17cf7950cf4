"""Scoring folders of masks against the truth: the `seg score` command, which needs no model."""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from seg.files import replacing
from seg.pairing import Ids, Pair, match, match_cityscapes, some

if TYPE_CHECKING:
    import torch


def main(argv: list[str] | None = None) -> None:
    """Run `seg score`."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        prog="seg score",
        description="Score a folder of predicted masks against a folder of true ones, both indexed or grey, with one "
        "confusion matrix over all pixels.",
    )
    add = parser.add_argument
    add("predictions", type=Path, metavar="PRED", help="folder of predicted masks, searched with its subfolders")
    add("truth", type=Path, metavar="GT", help="folder of true masks; every one of them needs its prediction")
    add(
        "--classes",
        required=True,
        metavar="voc|cityscapes|camvid|FILE",
        help="classes in the order of their labels; a FILE has a name a line, or is a YAML or JSON list",
    )
    add("--json", type=Path, metavar="FILE", help="write the scores here, too")
    add("--list", type=Path, dest="names", metavar="FILE", help="score these masks alone: a name a line, as in a split")
    add("--ignore", type=int, nargs="+", default=[], metavar="VALUE", help="true labels that do not count, beside 255")
    add("--label-map", type=pair_of_labels, nargs="+", metavar="VALUE=LABEL", help="what values in GT mean: 11=255")
    add("--prediction-map", type=pair_of_labels, nargs="+", metavar="VALUE=LABEL", help="what values in PRED mean")
    add("--truth-ids", choices=get_args(Ids), help="Cityscapes: values in GT, where file names do not tell")
    add("--prediction-ids", choices=get_args(Ids), help="Cityscapes: values in PRED, where file names do not tell")
    add("--void-wrong", action="store_true", help="count pixels predicted as ignored as wrong instead of refusing them")
    add(
        "--include-background",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="--no-include-background leaves class 0 out of rows and means; its pixels still count",
    )
    add(
        "--boundary", type=float, nargs="?", const=0.02, metavar="WIDTH", help="Boundary IoU too (0.02 of the diagonal)"
    )
    add("--worst", type=int, default=0, metavar="N", help="list the N images that go worst")
    options = vars(parser.parse_args(argv))
    for name in ("label_map", "prediction_map"):
        options[name] = dict(options[name] or [])
    file = options.pop("json")
    quiet()
    told(lambda: run(file, **options))


def pair_of_labels(text: str) -> tuple[int, int]:
    """Return the two numbers of `value=label`."""
    value, sign, label = text.partition("=")
    if not sign or not value.strip().isdecimal() or not label.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not VALUE=LABEL, such as 11=255")
    return int(value), int(label)


def run(file: Path | None, worst: int = 0, **options: Any) -> None:
    """Score, print the table, write the JSON file."""
    if file is not None and (file.is_dir() or not all(path.is_dir() for path in file.parents if path.exists())):
        raise ValueError(f"--json {file}: this is a folder, or lies in what is none; give a file")
    if worst < 0:
        raise ValueError(f"--worst {worst}: give the number of images to list")
    from seg.metrics import table, worst_table

    scored = score(**options)
    print(f"{len(scored.images)} images, mIoU {float(scored.result['miou']):.4f}")
    print(table(scored.result, scored.classes))
    if worst:
        print("\n" + worst_table(scored.images, worst))
    if file is not None:
        text = json.dumps(as_json(scored), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with replacing(file) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ValueError(
                f"--json {file}: cannot be written ({error.strerror or error}); give another place"
            ) from error


class Scored(NamedTuple):
    """What `score` returns: the scores (see `seg.metrics.scores`), class names, and the IoU of every image (C,)."""

    result: "dict[str, torch.Tensor]"
    classes: list[str]
    images: "list[tuple[str, torch.Tensor]]"


def score(
    predictions: Path,
    truth: Path,
    classes: str,
    names: Path | None = None,
    ignore: Sequence[int] = (),
    label_map: dict[int, int] | None = None,
    prediction_map: dict[int, int] | None = None,
    truth_ids: Ids | None = None,
    prediction_ids: Ids | None = None,
    void_wrong: bool = False,
    include_background: bool = True,
    boundary: float | None = None,
) -> Scored:
    """Score a folder of predicted masks against a folder of true ones.

    Args:
        predictions: folder of indexed or grey masks.
        truth: folder of indexed or grey masks; all of them need a prediction of the same name and size.
        classes: voc, cityscapes, camvid, or a file of class names (see `class_names`).
        names: file with a line for each mask that counts; all of the truth where not given.
        ignore: values in the truth, beside 255, of pixels that do not count.
        label_map: value in the truth -> class, or 255 for ignore; values that it does not name keep their meaning.
        prediction_map: value in the predictions -> class, likewise.
        truth_ids: what Cityscapes' true masks hold, where names do not tell.
        prediction_ids: what Cityscapes' predicted masks hold. As in the official evaluation a predicted labelId that
            is not scored is an error of the true class.
        void_wrong: count predictions of ignore on scored pixels likewise, instead of refusing them.
        include_background: false leaves class 0 out of rows and means.
        boundary: compute Boundary IoU with bands of this share of the image's diagonal, too.

    Raises:
        FileNotFoundError: a folder, a list or masks that are not there.
        ValueError: masks that cannot be scored, named with the cure.

    """
    import torch
    from tqdm import tqdm

    from seg.boundary import BoundaryIoU
    from seg.data.names import CAMVID_VOID, class_names
    from seg.metrics import scores
    from seg.values import Values, count

    known = class_names(classes)
    listed = None if names is None else read_names(names)
    if wrong := [value for value in ignore if not 0 <= value <= 255]:
        raise ValueError(f"--ignore {wrong[0]}: labels are 0..255")
    if classes == "cityscapes":
        pairs, left = match_cityscapes(predictions, truth, listed, prediction_ids, truth_ids)
    elif truth_ids or prediction_ids:
        raise ValueError("--truth-ids, --prediction-ids: these are for --classes cityscapes")
    else:
        pairs, left = match(predictions, truth, listed)
    if left and listed is None:
        print(f"note: {len(left)} predictions have no truth and are not scored: {some([path.name for path in left])}")

    ignored = {*ignore, *([CAMVID_VOID] if classes == "camvid" else [])}
    void = {value for value in ignored if value >= len(known)}  # a class can be predicted, scored or not
    kinds = (None, *get_args(Ids))
    true = {ids: Values(len(known), ids, ignored, label_map, "--label-map") for ids in kinds}
    said = {ids: Values(len(known), ids, void, prediction_map, "--prediction-map") for ids in kinds}

    def of_pair(pair: Pair) -> tuple[torch.Tensor, BoundaryIoU | None]:
        bands = None
        if boundary is not None:
            bands = BoundaryIoU(len(known), boundary, include_background=include_background)
        return count(pair, said[pair.prediction_ids], true[pair.truth_ids], void_wrong, bands), bands

    confusion, images, total = torch.zeros(len(known), len(known) + 1, dtype=torch.int64), [], None
    # Reading and counting leave Python's lock: threads do, and no mask travels between processes.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        counted = tqdm(pool.map(of_pair, pairs), "score", len(pairs), disable=not sys.stderr.isatty())
        for pair, (counts, bands) in zip(pairs, counted, strict=True):
            confusion += counts
            images.append((pair.name, scores(counts, include_background)["iou"]))
            if bands is not None and total is not None:
                total.counts += bands.counts
            total = total or bands
    result = scores(confusion, include_background)
    return Scored(result if total is None else result | total.compute(), known, images)


def read_names(path: Path) -> list[str]:
    """Return the names in a split's list: the last word of each line, without the suffix of an image."""
    if not path.is_file():
        raise FileNotFoundError(f"--list {path}: there is no such file")
    from seg.data.images import IMAGE_SUFFIXES

    words = [line.split()[-1] for line in path.read_text("utf-8-sig", "replace").splitlines() if line.strip()]
    if not words:
        raise ValueError(f"--list {path}: no name in it; write a name a line")
    return [str(Path(word).with_suffix("")) if Path(word).suffix.lower() in IMAGE_SUFFIXES else word for word in words]


def as_json(scored: Scored) -> dict[str, Any]:
    """Return the scores as plain numbers, None where undefined; those of classes by name."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    result = scored.result
    named = {"mean_iou" if name == "miou" else name: name for name, value in result.items() if value.ndim == 0}
    content: dict[str, Any] = {"images": len(scored.images)}
    content |= {name: plain(result[key].item()) for name, key in named.items()}
    for name in ("iou", "accuracy", "precision", "recall", "f1", "boundary_iou"):
        if name in result:
            figures = zip(scored.classes, result[name].tolist(), strict=True)
            content[name] = {label: plain(value) for label, value in figures}
    content["confusion"] = result["confusion"].tolist()
    return content
