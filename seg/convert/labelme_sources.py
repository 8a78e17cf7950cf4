"""All labelme files of a folder: read, their images found, their labels listed, before anything is drawn."""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seg.convert.labelme_file import (
    Annotation,
    NotLabelme,
    embedded_head,
    embedded_image,
    open_image,
    plain,
    read_annotation,
)
from seg.convert.labelme_images import Frame, Tree, find_image
from seg.convert.labelme_labels import found_classes, instances, refuse_unknown, twins
from seg.convert.labelme_shapes import Drawing, draw_shapes

logger = logging.getLogger(__name__)

_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")  # of whole JPEG and PNG files


class Source(NamedTuple):
    """A file that was read and can be converted; image and frame are None where the annotation holds its image."""

    annotation: Annotation
    image: Path | None
    frame: Frame | None
    notes: list[str]


class Sources(NamedTuple):
    """All files below a root: those to use, those that are no annotations, and those that cannot be used, with why."""

    root: Path
    good: list[Source]
    skipped: dict[Path, str]
    bad: dict[Path, str]

    def found(self, drawing: Drawing, aliases: Mapping[str, str]) -> list[str]:
        """Return the class list that the data itself gives; see `seg.convert.labelme_labels.found_classes`."""
        meant = {plain(label): plain(other) for label, other in aliases.items()}
        labels = (shape.label for source in self.good for shape in source.annotation.shapes)
        used = Counter(meant.get(label, label) for label in labels if label != drawing.hole_label)
        names = found_classes(self.root, used)
        if advice := instances(names) or twins(used):
            logger.warning("%s: every label is a class of its own. %s", self.root, advice)
        return names

    def refuse_unknown(self, values: Mapping[str, int], drawing: Drawing) -> None:
        """Refuse labels that have no value; see `seg.convert.labelme_labels.refuse_unknown`."""
        uses: dict[str, list[Path]] = {}
        for source in self.good:
            for shape in source.annotation.shapes:
                if shape.label not in values and shape.label != drawing.hole_label:
                    uses.setdefault(shape.label, []).append(source.annotation.path)
        refuse_unknown(uses, values)

    def drawn(self, values: Mapping[str, int], drawing: Drawing) -> "Sources":
        """Draw every mask once; return the sources with those that cannot be drawn among the bad."""
        checked = Sources(self.root, [], self.skipped, dict(self.bad))
        for source in self.good:
            try:
                frame = source.frame or Frame(embedded_head(source.annotation)[1])
                draw_mask(source.annotation, frame, values, drawing)
                checked.good.append(source)
            except (ValueError, OSError) as error:
                checked.bad[source.annotation.path] = _without(source.annotation.path, error)
        return checked

    def without_bad(self, skip_bad: bool) -> "Sources":
        """Return the sources that can be used, with a warning about the others where that is allowed.

        Raises:
            ValueError: listing every file that cannot be used with its reason.

        """
        if self.bad:
            listed = "\n  ".join(f"{path}: {reason}" for path, reason in sorted(self.bad.items()))
            if not skip_bad or not self.good:
                cure = ", or leave them out with skip_bad: true" if self.good else ""
                raise ValueError(
                    f"{len(self.bad)} annotations in {self.root} cannot be used; correct them or take them out{cure}"
                    f"\n  {listed}"
                )
            logger.warning("%d annotations in %s are left out:\n  %s", len(self.bad), self.root, listed)
        return self._replace(bad={})


def read_sources(root: Path, without: Path | None = None) -> Sources:
    """Read all annotations below a folder and find their images; nothing is decoded.

    Args:
        root: a folder, or one JSON file.
        without: a folder below it to leave out.

    Raises:
        FileNotFoundError: there is no such folder, or no annotation in it.

    """
    tree = Tree(root, without)
    sources = Sources(tree.root, [], {}, {})
    for path in tree.files:
        try:
            sources.good.append(read_source(path, tree))
        except NotLabelme as error:
            sources.skipped[path] = _without(path, error)
        except (ValueError, OSError) as error:
            sources.bad[path] = _without(path, error)
    users: dict[Path, list[Source]] = {}
    for source in sources.good:
        if source.image is not None:
            users.setdefault(source.image, []).append(source)
    for image, several in users.items():
        for source in several if len(several) > 1 else []:
            others = ", ".join(str(other.annotation.path) for other in several if other is not source)
            source.notes.append(f"{image.name} is annotated in {others} too")
    if not sources.good and not sources.bad:
        raise FileNotFoundError(f"there is no labelme annotation (*.json with `shapes`) below {root}")
    return sources


def read_source(path: Path, tree: Tree) -> Source:
    """Read an annotation and find its image.

    Raises:
        NotLabelme: valid JSON that is no annotation.
        ValueError: it cannot be used; naming the file.

    """
    annotation = read_annotation(path)
    image, frame, notes = find_image(annotation, tree)
    _refuse_truncated(annotation, image)
    return Source(annotation, image, frame, notes)


def draw_mask(annotation: Annotation, frame: Frame, values: Mapping[str, int], drawing: Drawing) -> np.ndarray:
    """Return an annotation's mask, uint8 (H, W), of the size of its upright image.

    Args:
        annotation: as read.
        frame: how it lies on the image, see `frame_of`.
        values: label -> value.
        drawing: widths, holes and order.

    Raises:
        ValueError: a shape that cannot be drawn, or a label without value; naming the file.

    """
    try:
        return frame.upright(draw_shapes(annotation.shapes, frame.size, values, drawing, annotation.path))
    except KeyError as error:
        raise ValueError(f"{annotation.path}: label {error} is not in the class list") from error


def _refuse_truncated(annotation: Annotation, image: Path | None) -> None:
    """Refuse a JPEG or PNG that ends too early; only one whose last bytes are not the usual ones is decoded."""
    if image is None:
        data = embedded_image(annotation)
        where = f"{annotation.path}: imageData"
        embedded_head(annotation)
    elif image.suffix.lower() in (".jpg", ".jpeg", ".png"):
        with open(image, "rb") as file:
            file.seek(-min(12, os.fstat(file.fileno()).st_size), os.SEEK_END)
            if (data := file.read()).endswith(_ENDS):
                return
            file.seek(0)
            data, where = file.read(), f"image {image}"
    else:
        return
    if not data.endswith(_ENDS):
        try:
            open_image(data, where).load()
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{where} is damaged or incomplete ({error})") from error


def _without(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")
