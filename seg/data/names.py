"""Class names of known data sets, and class lists in files, for whoever needs no more than those."""

from difflib import get_close_matches
from pathlib import Path

import yaml

from seg.convert.cityscapes_labels import TRAIN_LABELS
from seg.convert.labelme_labels import IGNORE_LABEL
from seg.convert.palettes import CAMVID_COLORS, VOC_CLASSES
from seg.data.classes import Classes

CAMVID_VOID = 11
"""The label in the SegNet tutorial's masks of what is none of the 11 classes."""

KNOWN = ("voc", "cityscapes", "camvid")
"""Data sets whose class names are known here."""


def class_names(given: str) -> list[str]:
    """Return the class names of a known data set, or those in a file.

    Args:
        given: one of KNOWN, or a file: a name a line (blank lines, CRLF and a byte order mark do not matter), or a YAML
            or JSON list, by the suffix .yaml, .yml or .json. labelme's `__ignore__`, which no mask has a class for, is
            left out.

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
        return list(Classes([name for word in names if (name := str(word).strip()) not in ("", IGNORE_LABEL)]).names)
    except ValueError as error:
        raise ValueError(f"--classes {given}: {error}") from error
