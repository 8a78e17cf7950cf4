"""SBD's .mat files to masks beside Pascal VOC's, and the list `trainaug`: `seg convert sbd`.

Source: Hariharan et al., "Semantic Contours from Inverse Detectors", 2011; benchmark_RELEASE/dataset of
http://home.bharathh.info/pubs/codes/SBD/. The list is the one that the DeepLab papers train on: 10,582 images.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from seg.convert.batch import Job, Summary, convert_all
from seg.convert.palette import voc_colors, write_indexed
from seg.convert.palettes import VOC_CLASSES
from seg.data.images import read_size
from seg.files import read_lines, replacing

MASKS, LIST = "SegmentationClassAug", "trainaug"
FULL = {"SBD train": 8498, "SBD val": 2857, "VOC train": 1464, "VOC val": 1449}
"""Lengths of the official lists."""
FULL_LIST = 10582


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `seg convert sbd`."""
    parser.add_argument("source", type=Path, metavar="SRC", help="SBD: benchmark_RELEASE, or its folder dataset")


def convert(source: Path, out: Path, workers: int | None = None, overwrite: bool = False) -> tuple[Summary, str]:
    """Write SegmentationClassAug and ImageSets/Segmentation/trainaug.txt into a VOC tree.

    Where VOC has a mask of its own, that is taken. The list holds SBD's train and val and VOC's train, less VOC's val.

    Args:
        source: folder that holds cls/*.mat, train.txt and val.txt, or one above it.
        out: VOC's folder, with SegmentationClass and ImageSets/Segmentation.
        workers: processes.
        overwrite: convert what is done already, too.

    Raises:
        FileNotFoundError: a folder or list of either data set is not there.
        ValueError: the lists are the official ones by length, but do not make up 10,582 images.

    """
    places = [source, source / "dataset", source / "benchmark_RELEASE" / "dataset"]
    dataset = next((place for place in places if (place / "cls").is_dir()), None)
    if dataset is None:
        raise FileNotFoundError(
            f"{source}: there is no folder cls with SBD's .mat files; give benchmark_RELEASE/dataset of "
            "http://home.bharathh.info/pubs/codes/SBD/"
        )
    own_masks, lists = out / "SegmentationClass", out / "ImageSets" / "Segmentation"
    if not own_masks.is_dir():
        raise FileNotFoundError(f"--out {out}: there is no folder {own_masks}; give the folder of VOC 2012")
    names = trainaug(
        {
            "SBD train": dataset / "train.txt",
            "SBD val": dataset / "val.txt",
            "VOC train": lists / "train.txt",
            "VOC val": lists / "val.txt",
        }
    )
    images = out / "JPEGImages"
    own = {path.stem: path for path in sorted(own_masks.glob("*.png"))}
    others = {path.stem: path for path in sorted((dataset / "cls").glob("*.mat")) if path.stem not in own}
    jobs = [
        Job((path,), (out / MASKS / f"{name}.png",), images / f"{name}.jpg")
        for name, path in sorted([*own.items(), *others.items()])
    ]
    with replacing(lists / f"{LIST}.txt") as temporary:
        temporary.write_bytes("".join(f"{name}\n" for name in names).encode())
    # Settings lie beside the masks, not in VOC's own folder.
    summary = convert_all(jobs, _convert, out / MASKS, None, workers, overwrite)
    made = {path.stem for path in [*summary.written, *summary.done, *summary.failed]}
    if lacking := [name for name in names if name not in made]:
        summary.failed[lists / f"{LIST}.txt"] = (
            f"{len(lacking)} of its {len(names)} images have no mask in either data set: {', '.join(lacking[:5])}, …"
        )
    return summary, "masks"


def trainaug(lists: dict[str, Path]) -> list[str]:
    """Return the names of SBD's train and val and VOC's train that are not in VOC's val, sorted.

    Args:
        lists: files of "SBD train", "SBD val", "VOC train" and "VOC val".

    Raises:
        FileNotFoundError: a list is not there.
        ValueError: the full lists do not make up the known number.

    """
    names: dict[str, list[str]] = {}
    for what, path in lists.items():
        if not path.is_file():
            raise FileNotFoundError(f"there is no list {path} ({what})")
        names[what] = [words[0] for line in read_lines(path) if (words := line.split())]
    chosen = sorted({*names["SBD train"], *names["SBD val"], *names["VOC train"]} - {*names["VOC val"]})
    full = {what: len(listed) for what, listed in names.items()} == FULL
    if full and len(chosen) != FULL_LIST:
        raise ValueError(
            f"the lists have their official lengths but make up {len(chosen)} images, not {FULL_LIST}; one is not "
            f"what it should be: {', '.join(map(str, lists.values()))}"
        )
    return chosen


def read_mat(path: Path) -> np.ndarray:
    """Return the mask of one of SBD's files, uint8 (H, W), 0..20.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming the file: damaged, or no mask of VOC's classes.

    """
    from scipy.io import loadmat

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        found: Any = loadmat(path, squeeze_me=True)["GTcls"]["Segmentation"]
        mask = np.asarray(found.item() if found.dtype == object else found)
    except Exception as error:  # damaged files break scipy's parser in many ways, from KeyError to zlib.error
        raise ValueError(
            f"{path} cannot be read as one of SBD's files with GTcls.Segmentation ({type(error).__name__}: {error}); "
            "unpack it again"
        ) from error
    if mask.ndim != 2 or mask.dtype.kind not in "iub" or mask.size == 0:
        raise ValueError(f"{path}: GTcls.Segmentation is {mask.dtype} of shape {mask.shape}, not labels (H, W)")
    if bad := [str(value) for value in np.unique(mask) if not (0 <= value < len(VOC_CLASSES) or value == 255)]:
        raise ValueError(f"{path} holds {', '.join(bad[:8])}; labels are 0..{len(VOC_CLASSES) - 1}, and 255")
    return mask.astype(np.uint8)


def _convert(job: Job) -> None:
    source, target, image = job.inputs[0], job.targets[0], job.data
    if source.suffix == ".png":
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    mask = read_mat(source)
    if image.is_file() and (size := read_size(image)) != mask.shape:
        raise ValueError(f"{source} is {mask.shape[0]}×{mask.shape[1]} but {image} is {size.height}×{size.width}")
    write_indexed(target, mask, voc_colors(len(VOC_CLASSES)))
