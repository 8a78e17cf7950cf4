"""Reading COCO's instances JSON, checked: images, categories, and the annotations of each image.

Source: Lin et al., "Microsoft COCO: Common Objects in Context", 2014; format: https://cocodataset.org/#format-data.
"""

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from seg.convert.outlines import is_background
from seg.data.classes import IGNORE


class Frame(NamedTuple):
    """An image of the file: its path below the images' folder, its size where told, its annotations as JSON.

    The annotations are a list of [id, category, is crowd, segmentation], kept as text: many times smaller than the
    objects that it describes, and left alone by processes that are forked.
    """

    path: str
    height: int | None
    width: int | None
    annotations: bytes


class Instances(NamedTuple):
    """An instances file: category names by id, in the order of ids, and the images in the file's order."""

    categories: dict[int, str]
    frames: list[Frame]


def read_instances(path: str | Path) -> Instances:
    """Read an instances JSON.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: naming the file: no JSON, parts that are missing or no such thing, an annotation of an unknown image
            or category, an image whose path leads out of the images' folder.

    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} of annotations")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}); copy or export it again") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no COCO annotations: {{images: …, annotations: …, categories: …}} is expected")
    images, annotations = _listed(document, "images", path), _listed(document, "annotations", path)

    names: dict[int, str] = {}
    for entry in _listed(document, "categories", path):
        number, name = _number(entry, "id", "category", path), entry.get("name")
        if not isinstance(name, str) or names.setdefault(number, name) != name:
            raise ValueError(f"{path}: category {number} has no name, or two")
    of_image: dict[int, list[list[Any]]] = {}
    for entry in images:
        if (number := _number(entry, "id", "image", path)) in of_image:
            raise ValueError(f"{path}: there are two images of the id {number}")
        of_image[number] = []
    for entry in annotations:
        number = _number(entry, "id", "annotation", path) if "id" in entry else -1
        image, category = (_number(entry, key, f"annotation {number}", path) for key in ("image_id", "category_id"))
        if image not in of_image:
            raise ValueError(f"{path}: annotation {number} belongs to image {image}, which is not among the images")
        if category not in names:
            raise ValueError(
                f"{path}: annotation {number} is of category {category}, which is not among the categories "
                f"({', '.join(f'{key} {name}' for key, name in list(names.items())[:8])}, …)"
            )
        of_image[image].append([number, category, bool(entry.get("iscrowd")), entry.get("segmentation")])
    frames = []
    for entry in images:
        height, width = (entry.get(side) if _is_size(entry.get(side)) else None for side in ("height", "width"))
        described = json.dumps(of_image[entry["id"]], separators=(",", ":")).encode()
        frames.append(Frame(_place(entry.get("file_name"), entry["id"], path), height, width, described))
    return Instances(dict(sorted(names.items())), frames)


def class_names(
    categories: Mapping[int, str],
    classes: Sequence[str] | None = None,
    merge: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Return class names: the background, which any category of that name is too, then categories.

    Args:
        categories: name by id, in the order of ids.
        classes: names of the categories, merged ones too, that are wanted, in their order; all, by id, where not given.
        merge: name of a class -> the categories that it is made of.

    Raises:
        ValueError: a category that is not there or is merged twice.

    """
    belongs = _belongs(merge)
    for part, merged in belongs.items():
        if part not in categories.values():
            raise ValueError(f"merge: {merged} takes in '{part}', {_unknown(part, categories.values())}")
    found = dict.fromkeys(belongs.get(name, name) for name in categories.values() if not is_background(name))
    if classes is None:
        return ["background", *found]
    wanted = without_background(classes)
    for name in wanted:
        if name not in found:
            raise ValueError(f"classes: there is no category '{name}', {_unknown(name, found)}")
    return ["background", *wanted]


def category_values(
    categories: Mapping[int, str],
    names: Sequence[str],
    merge: Mapping[str, Sequence[str]] | None = None,
    others: str = "background",
) -> dict[int, int]:
    """Return the value of each category: its place among the class names, the background first.

    Args:
        categories: name by id.
        names: class names, from `class_names`.
        merge: name of a class -> the categories that it is made of.
        others: what categories are that no class wants: "background" or "ignore".

    """
    belongs, rest = _belongs(merge), IGNORE if others == "ignore" else 0
    values = {name: value for value, name in enumerate(names)}
    return {
        number: 0 if is_background(name) else values.get(belongs.get(name, name), rest)
        for number, name in categories.items()
    }


def without_background(classes: Sequence[str]) -> list[str]:
    """Return class names less the background, where that is first."""
    return list(classes[1:] if classes and is_background(classes[0]) else classes)


def _belongs(merge: Mapping[str, Sequence[str]] | None) -> dict[str, str]:
    """Return the class that each merged category belongs to."""
    belongs: dict[str, str] = {}
    for merged, parts in (merge or {}).items():
        for part in parts:
            if belongs.setdefault(part, merged) != merged:
                raise ValueError(f"merge: '{part}' is taken in by both {belongs[part]} and {merged}")
    return belongs


def _unknown(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(list(known)[:12]) + (", …" if len(known) > 12 else "")
    return f"did you mean {close[0]}?" if close else f"only {listed}"


def _listed(document: dict[str, Any], part: str, path: Path) -> list[dict[str, Any]]:
    entries = document.get(part)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path}: '{part}' is no list of objects; COCO's instances files have one")
    return entries


def _number(entry: dict[str, Any], key: str, what: str, path: Path) -> int:
    value = entry.get(key)
    if type(value) is not int:
        raise ValueError(f"{path}: the {key} of an entry ({what}) is {json.dumps(value)[:40]}, not a whole number")
    return value


def _is_size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 1 << 20


def _place(name: Any, image: int, path: Path) -> str:
    """Return the path of an image below the images' folder, with slashes."""
    place = PurePosixPath(name.replace("\\", "/")) if isinstance(name, str) else PurePosixPath()
    if not place.name or place.is_absolute() or ".." in place.parts or ":" in place.parts[0] or "\0" in str(place):
        raise ValueError(
            f"{path}: file_name {json.dumps(name)} of image {image} is no path below the folder of the images; "
            "write it relative to that folder"
        )
    return str(place)
