"""Class names and colours of known data sets, and class lists in files, for whoever needs no more than those."""

from difflib import get_close_matches
from pathlib import Path

import yaml

from seg.convert.cityscapes_labels import TRAIN_LABELS
from seg.data.classes import Classes

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

CAMVID_COLORS: dict[str, list[int]] = {
    "Sky": [128, 128, 128],
    "Building": [128, 0, 0],
    "Pole": [192, 192, 128],
    "Road": [128, 64, 128],
    "Pavement": [60, 40, 222],
    "Tree": [128, 128, 0],
    "SignSymbol": [192, 128, 128],
    "Fence": [64, 64, 128],
    "Car": [64, 0, 128],
    "Pedestrian": [64, 64, 0],
    "Bicyclist": [0, 128, 192],
}
CAMVID_VOID = 11
"""The label in the SegNet tutorial's masks of what is none of the 11 classes."""

KNOWN = ("voc", "cityscapes", "camvid")
"""Data sets whose class names are known here."""


def class_names(given: str) -> list[str]:
    """Return the class names of a known data set, or those in a file.

    Args:
        given: one of KNOWN, or a file: a name a line (blank lines, CRLF and a byte order mark do not matter), or a YAML
            or JSON list, by the suffix .yaml, .yml or .json.

    Raises:
        FileNotFoundError: neither a known data set nor a file.
        ValueError: a file that holds no list of 2 to 255 different names.

    """
    if given == "voc":
        return list(VOC_CLASSES)
    if given == "camvid":
        return list(CAMVID_COLORS)
    if given == "cityscapes":
        return [label.name for label in TRAIN_LABELS]
    path = Path(given)
    if not path.is_file():
        close = get_close_matches(given.lower(), KNOWN, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise FileNotFoundError(f"--classes {given}: neither {', '.join(KNOWN)} nor a file of class names{hint}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = yaml.safe_load(text) if path.suffix.lower() in (".yaml", ".yml", ".json") else text.splitlines()
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"--classes {given}: not readable as text or YAML ({error}); write a name a line") from error
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        raise ValueError(f"--classes {given}: expected a list of names, such as [background, leaf, stem]")
    try:
        return list(Classes([name for word in names if (name := str(word).strip())]).names)
    except ValueError as error:
        raise ValueError(f"--classes {given}: {error}") from error
