"""All labelme files of a folder: read, their images found, their labels listed, before anything is drawn."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seg.convert.labelme_file import Annotation, NotLabelme, embedded_head, plain, read_annotation
from seg.convert.labelme_images import Frame, Tree, find_image
from seg.convert.labelme_labels import found_classes, instances, read_labels, refuse_unknown
from seg.convert.labelme_shapes import Drawing, draw_shapes

logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """A file that was read and can be converted; `image` is None where the annotation holds it itself."""

    annotation: Annotation
    image: Path | None
    notes: list[str]


class Sources(NamedTuple):
    """All files below a root: those to use, those that are no annotations, and those that cannot be used, with why."""

    root: Path
    good: list[Source]
    skipped: dict[Path, str]
    bad: dict[Path, str]

    def classes(self, drawing: Drawing, aliases: Mapping[str, str]) -> tuple[list[str], bool]:
        """Return the class list that lies in the root, or the one found in the data, and whether it was found.

        Raises:
            ValueError: no class, or too many.

        """
        if (path := self.root / "labels.txt").is_file():
            return read_labels(path), False
        used = {shape.label for source in self.good for shape in source.annotation.shapes} - {drawing.hole_label}
        meant = {plain(label): plain(other) for label, other in aliases.items()}
        names = found_classes(self.root, {meant.get(label, label) for label in used})
        if advice := instances(names):
            logger.warning("%s: every label is a class of its own. %s", self.root, advice)
        return names, True

    def refuse_unknown(self, values: Mapping[str, int], drawing: Drawing) -> None:
        """Refuse labels that have no value; see `seg.convert.labelme_labels.refuse_unknown`."""
        uses: dict[str, list[Path]] = {}
        for source in self.good:
            for shape in source.annotation.shapes:
                if shape.label not in values and shape.label != drawing.hole_label:
                    uses.setdefault(shape.label, []).append(source.annotation.path)
        refuse_unknown(uses, values)


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
            annotation = read_annotation(path)
            image, notes = find_image(annotation, tree)
            if image is None:
                embedded_head(annotation)
            sources.good.append(Source(annotation, image, notes))
        except NotLabelme as error:
            sources.skipped[path] = _without(path, error)
        except (ValueError, OSError) as error:
            sources.bad[path] = _without(path, error)
    if not sources.good and not sources.bad:
        raise FileNotFoundError(f"there is no labelme annotation (*.json with `shapes`) below {root}")
    return sources


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


def _without(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")
