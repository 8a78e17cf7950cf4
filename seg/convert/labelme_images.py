"""Which image a labelme file belongs to, and how its shapes lie on it: found, compared in size, never guessed."""

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from seg.convert.labelme_file import Annotation, embedded_head, plain
from seg.data.images import IMAGE_SUFFIXES, Size, read_size

_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what brings the stored image upright, of those that swap height and width."""

_SHOWN = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
"""Suffixes of images that labelme shows as they are; of all others a picture of 8 bits may be embedded."""


class Tree:
    """The JSON files and the images below a folder; hidden folders are left out, cycles of links are not followed.

    Args:
        root: a folder, or one JSON file.
        without: a folder below it to leave out.

    Raises:
        FileNotFoundError: neither.

    """

    def __init__(self, root: Path, without: Path | None = None) -> None:
        if not root.exists():
            raise FileNotFoundError(f"there is no folder {root}; give the one that holds your JSON files and images")
        self.root = root if root.is_dir() else root.parent
        self.files: list[Path] = []
        self.images: dict[Path, dict[str, str]] = {}
        for folder, names in _walk(self.root, without):
            self.files += [folder / name for name in names if name.lower().endswith(".json")]
            self.images[folder] = {_key(name): name for name in names if name.lower().endswith(IMAGE_SUFFIXES)}
        if not root.is_dir():
            self.files = [root]
        self._base = os.path.abspath(self.root)

    def named(self, annotation: Annotation) -> Path | None:
        """Return the file that `imagePath` names: relative to the JSON, with / or a backslash, below the root."""
        if annotation.image_path is None:
            return None
        written = annotation.image_path.replace("\\", "/").strip()
        # Normalised before it is opened: what a link followed by .. leads to is not what was checked.
        place = os.path.normpath(os.path.join(os.path.abspath(annotation.path.parent), written))
        if not Path(place).is_relative_to(self._base):
            return None
        folder = self.root / os.path.relpath(os.path.dirname(place), self._base)
        if name := self.images.get(folder, {}).get(_key(os.path.basename(place))):
            return folder / name
        found = folder / os.path.basename(place)
        return found if found.suffix.lower() != ".json" and os.path.isfile(found) else None

    def beside(self, annotation: Annotation) -> Path | None:
        """Return the image of the JSON file's own name in its folder, of the likeliest suffix."""
        names, stem = self.images.get(annotation.path.parent, {}), _key(annotation.path.stem)
        ends = ("", *IMAGE_SUFFIXES)  # one.jpg.json is what some tools write for one.jpg
        return next((annotation.path.parent / names[stem + end] for end in ends if stem + end in names), None)

    def elsewhere(self, annotation: Annotation) -> list[Path]:
        """Return the images anywhere below the root that have the name which `imagePath` ends in."""
        if annotation.image_path is None:
            return []
        return self._places.get(_key(annotation.image_path.replace("\\", "/").rpartition("/")[2]), [])

    @cached_property
    def _places(self) -> dict[str, list[Path]]:
        places: dict[str, list[Path]] = {}
        for folder, names in self.images.items():
            for key, name in names.items():
                places.setdefault(key, []).append(folder / name)
        return places


class Frame(NamedTuple):
    """How shapes lie on an image: the size that they are drawn at, and the EXIF orientation that then turns them."""

    size: Size
    turn: int = 1

    def upright(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask, uint8 (H, W), as the image is seen."""
        return mask if self.turn == 1 else np.array(Image.fromarray(mask).transpose(_TURNS[self.turn]))


def find_image(annotation: Annotation, tree: Tree) -> tuple[Path | None, Frame | None, list[str]]:
    """Return the image that an annotation was drawn on, how it lies on it, and remarks; no image for its own.

    By `imagePath`, then by the JSON file's own name, then the embedded one, then by the name that `imagePath` ends in
    if only one image below the root has it.

    Raises:
        ValueError: none is there, the sizes disagree, or two images could be meant; naming the file.

    """
    named, own = tree.named(annotation), tree.beside(annotation)
    said = annotation.image_path
    try:
        if named is not None and own is not None and _key(named.stem) != _key(own.stem):
            return _one_of_two(annotation, named, own)
        if image := named or own:
            # A wrong size is forgiven only where nothing speaks for another image.
            forgive = {_key(image.stem), _stem(said or image.name)} == {_key(annotation.path.stem)}
            frame, notes = frame_of(annotation, image, forgive)
            if image != named and said is not None:
                notes.insert(0, f"imagePath {said!r} is not there; {image.name} has the name of the JSON file")
            return image, frame, notes
        if annotation.image_data is not None:
            if said is None or plain(said).lower().endswith(_SHOWN):
                return None, None, []
            return None, None, [f"the embedded image is used, for {said!r} is not below {tree.root}"]
        if len(places := tree.elsewhere(annotation)) == 1:
            return places[0], *frame_of(annotation, places[0], forgive=False)
    except ValueError as error:
        if annotation.image_data is None:
            raise
        return None, None, [f"the embedded image is used: {str(error).removeprefix(f'{annotation.path}: ')}"]
    if len(places) > 1:
        raise ValueError(f"{annotation.path}: imagePath {said!r} is not there, and could mean {_list(places)}")
    raise ValueError(
        f"{annotation.path}: there is no image: imagePath {said!r} leads to none below {tree.root}, none beside it has "
        "its name, and none is embedded"
    )


def frame_of(annotation: Annotation, image: Path, forgive: bool = True) -> tuple[Frame, list[str]]:
    """Return how an annotation's shapes lie on an image, and remarks on sizes that disagree.

    Args:
        annotation: as read.
        image: the file; only its head is read.
        forgive: use the image's own size where the JSON file states another one and all points lie in the image.

    Raises:
        ValueError: the annotation does not belong to the image as it is; naming both.

    """
    try:
        upright = read_size(image)
    except Image.DecompressionBombError as error:
        raise ValueError(f"image {image} is too large to be read ({error})") from error
    stated = annotation.size
    if stated == upright:
        return Frame(upright), []
    if annotation.image_data is not None:
        # The image that was annotated is in the file itself: its size cannot lie, and leaves nothing to forgive.
        stated, forgive = embedded_head(annotation)[1], False
        if stated == upright:
            lies = annotation.size and f"the JSON file says {_text(annotation.size)}, its image is {_text(upright)}"
            return Frame(upright), [lies] if lies else []
    if stated is None and annotation.fits(upright):
        return Frame(upright), []
    turned = Size(upright.width, upright.height)
    fits = annotation.fits(upright)
    where = f"{annotation.path}: image {image} is {_text(upright)}"
    if stated in (None, turned) and (turn := orientation(image)) in _TURNS:
        if annotation.fits(turned) and not fits:
            return Frame(turned, turn), [
                f"drawn on {image.name} as stored, not as its EXIF orientation shows it; turned"
            ]
        if stated is not None and fits and annotation.fits(turned):
            raise ValueError(
                f"{where} upright, but the JSON file says {_text(turned)}: were the shapes drawn on it as stored, "
                "without its EXIF orientation? Open it in labelme and save, or correct imageHeight and imageWidth"
            )
    if stated is None:
        raise ValueError(f"{where}, but shapes lie outside of it; it is another image, or was resized since")
    where += f" (height × width, upright), but the JSON file says {_text(stated)}"
    if not forgive:
        raise ValueError(f"{where}; it is another image than was annotated, or was resized since")
    if not fits:
        raise ValueError(f"{where}, and shapes lie outside of the image; was it resized since?")
    # An enlarged image holds every shape of the small one, at the wrong place.
    scale = upright.height / stated.height
    if scale > 1 and abs(stated.width * scale - upright.width) <= scale and annotation.fits(stated):
        raise ValueError(f"{where}; was it enlarged since? If only the JSON file is wrong, correct its imageHeight")
    return Frame(upright), [
        f"the JSON file says {_text(stated)}, the image is {_text(upright)}, which holds all shapes"
    ]


def _one_of_two(annotation: Annotation, named: Path, own: Path) -> tuple[Path, Frame, list[str]]:
    """Choose between the image that `imagePath` names and the one of the JSON file's own name, by size."""
    agree: list[tuple[Path, Frame]] = []
    for image in (named, own) if annotation.size is not None else ():
        with suppress(ValueError, OSError):
            agree.append((image, frame_of(annotation, image, forgive=False)[0]))
    if len(agree) != 1:
        both = "both" if agree else "neither"
        raise ValueError(
            f"{annotation.path}: imagePath names {named.name}, but {own.name} has the JSON file's own name, and {both} "
            "could be meant by the size; correct imagePath, or rename the one that is not"
        )
    notes = [f"imagePath names {named.name}, whose size is another; {own.name} has the name of the JSON file"]
    image, frame = agree[0]
    return image, frame, notes if image == own else []


def orientation(image: Path) -> int:
    """Return an image's EXIF orientation: 1 is upright, 5 to 8 swap height and width."""
    try:
        opened = Image.open(image)
    except UnidentifiedImageError:
        return 1  # of a kind that Pillow does not read, and without EXIF
    with opened:
        # Pillow turns a TIFF itself, and looking for EXIF in a PNG decodes it.
        if opened.format == "TIFF" or (opened.format == "PNG" and "exif" not in opened.info):
            return 1
        return int(opened.getexif().get(ExifTags.Base.Orientation, 1))


def _walk(root: Path, without: Path | None) -> Iterator[tuple[Path, list[str]]]:
    seen = {os.path.realpath(without)} if without else set()
    for folder, folders, names in os.walk(root, followlinks=True):
        if (place := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(folder), sorted(name for name in names if not name.startswith("."))


def _key(name: str) -> str:
    return plain(name).casefold()


def _stem(written: str) -> str:
    return _key(written.replace("\\", "/").rpartition("/")[2].rpartition(".")[0])


def _text(size: Size) -> str:
    return f"{size.height}×{size.width}"


def _list(paths: list[Path]) -> str:
    return ", ".join(map(str, paths[:5])) + (", …" if len(paths) > 5 else "")
