"""Colour masks' palettes: which colours mean which class, by name or from a file."""

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from seg.convert.cityscapes_labels import LABELS, TRAIN_LABELS
from seg.convert.palette import VOID_COLOR, Color, voc_colors

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
CAMVID_COLORS: dict[str, Color] = {
    "Sky": (128, 128, 128),
    "Building": (128, 0, 0),
    "Pole": (192, 192, 128),
    "Road": (128, 64, 128),
    "Pavement": (60, 40, 222),
    "Tree": (128, 128, 0),
    "SignSymbol": (192, 128, 128),
    "Fence": (64, 64, 128),
    "Car": (64, 0, 128),
    "Pedestrian": (64, 64, 0),
    "Bicyclist": (0, 128, 192),
}
"""The 11 classes of the SegNet tutorial (Badrinarayanan, Kendall, Cipolla, 2015), in the order of their values."""

IGNORE_NAMES = ("ignore", "__ignore__", "void")
"""Names in a palette that mean 255 and take no number, whatever their capitals."""

_CURE = "write a class a line: name r g b, each colour 0..255"


class Palette(NamedTuple):
    """Hold class names in the order of their values, and the value of each colour; a class may have several."""

    names: tuple[str, ...]
    colors: tuple[tuple[Color, int], ...]

    @property
    def shown(self) -> list[Color]:
        """The first colour of each class."""
        first = {value: color for color, value in reversed(self.colors)}
        return [first[value] for value in range(len(self.names))]

    def name_of(self, value: int) -> str:
        """Return the name of a value."""
        return "ignored" if value == 255 else self.names[value]


def make_palette(entries: Iterable[tuple[str, Color]]) -> Palette:
    """Return the palette of named colours; values follow the order in which names appear first.

    Args:
        entries: name and (red, green, blue) of 0..255; a name in `IGNORE_NAMES` is 255.

    Raises:
        ValueError: no or too many classes, a colour out of range, or one of two classes.

    """
    values: dict[str, int] = {}
    colors: dict[Color, tuple[str, int]] = {}
    for name, color in entries:
        if len(color) != 3 or not all(type(part) is int and 0 <= part <= 255 for part in color):
            raise ValueError(f"the colour of '{name}', {list(color)}, is not red, green, blue of 0..255; {_CURE}")
        value = 255 if name.lower() in IGNORE_NAMES else values.setdefault(name, len(values))
        other, known = colors.setdefault(color, (name, value))
        if known != value:
            raise ValueError(f"'{other}' and '{name}' have one colour, {color}; give each class its own")
    if not 1 <= len(values) <= 255:
        raise ValueError(f"{len(values)} classes are named, where 1 to 255 can be; {_CURE}")
    return Palette(tuple(values), tuple((color, value) for color, (_, value) in colors.items()))


_TRAINED = {label.color for label in TRAIN_LABELS}

PALETTES = {
    "voc": make_palette([*zip(VOC_CLASSES, voc_colors(21), strict=True), ("void", VOID_COLOR)]),
    "camvid": make_palette([*CAMVID_COLORS.items(), ("void", (0, 0, 0))]),
    # by train id; of the labels that share a colour the one that is trained counts
    "cityscapes": make_palette(
        [(label.name, label.color) for label in TRAIN_LABELS]
        + [("void", label.color) for label in LABELS if label.color not in _TRAINED]
    ),
}
"""Palettes by name; Cityscapes' by train ids, all labels that are not trained being 255."""


def palette_of(text: str) -> Palette:
    """Return a palette by its name, or from a file.

    A file holds `name r g b` or `r g b name` a line (blanks, tabs, commas; a heading and # comments do not matter), or
    in JSON or YAML a mapping from names to [r, g, b], or a list of {name: …, color: [r, g, b]}. Classes are numbered in
    the order in which they appear; a name that comes again gives a class another colour; see `IGNORE_NAMES` for 255.

    Raises:
        FileNotFoundError: neither a name nor a file.
        ValueError: a file that cannot be read as a palette.

    """
    if text in PALETTES:
        return PALETTES[text]
    path = Path(text)
    if not path.is_file():
        close = difflib.get_close_matches(text, PALETTES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise FileNotFoundError(f"--palette {text}: neither a palette ({', '.join(PALETTES)}) nor a file{hint}")
    try:
        content = path.read_text(encoding="utf-8-sig")
        structured = path.suffix.lower() in (".json", ".yaml", ".yml")
        return make_palette(_structured(path, content) if structured else _lines(content))
    except UnicodeDecodeError as error:
        raise ValueError(f"--palette {path} is no text in UTF-8 ({error}); {_CURE}") from error
    except ValueError as error:
        raise ValueError(f"--palette {path}: {error}") from error


def _lines(content: str) -> list[tuple[str, Color]]:
    entries: list[tuple[str, Color]] = []
    for number, line in enumerate(content.splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        words = re.split(r"[\s,;]+", text.strip(" \t,;"))
        if len(words) > 3 and all(map(_is_number, words[-3:])):
            name, color = words[:-3], words[-3:]
        elif len(words) > 3 and all(map(_is_number, words[:3])):
            color, name = words[:3], words[3:]
        elif number == 1 and not any(map(_is_number, words)):
            continue  # a heading
        else:
            raise ValueError(f"line {number}, '{text[:60]}', is not a name and a colour; {_CURE}")
        red, green, blue = (int(part) for part in color)
        entries.append((" ".join(name).strip("\"'"), (red, green, blue)))
    return entries


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 9


def _structured(path: Path, content: str) -> list[tuple[str, Color]]:
    if path.suffix.lower() == ".json":
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this is no JSON ({error})") from error
    else:
        import yaml

        try:
            document = yaml.safe_load(content)
        except (yaml.YAMLError, RecursionError) as error:
            raise ValueError(f"this is no YAML ({error})") from error
    pairs: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        pairs = list(document.items())
    elif isinstance(document, list):
        pairs = [
            (entry.get("name"), entry.get("color")) if isinstance(entry, dict) else (None, entry) for entry in document
        ]
    entries = []
    for name, color in pairs:
        if name is None or not isinstance(color, list):
            raise ValueError(f"{json.dumps([name, color], default=str)[:80]} is not a name and its [r, g, b]")
        entries.append((str(name), tuple(color)))
    return entries
