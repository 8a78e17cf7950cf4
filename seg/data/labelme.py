"""A folder of labelme annotations, trained on as it is: JSON files and images, nothing converted, nothing installed."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seg.convert.labelme_file import embedded_head, embedded_image, read_annotation
from seg.convert.labelme_images import frame_of
from seg.convert.labelme_labels import class_list, label_values, read_labels, write_found
from seg.convert.labelme_shapes import Drawing, check_order, checked_drawing
from seg.convert.labelme_sources import Source, Sources, draw_mask, read_sources
from seg.convert.labelme_splits import has_own_split, own_split
from seg.data.base import SegmentationData
from seg.data.cache import disk_folder
from seg.data.dataset import Pair, Reader
from seg.files import replacing

logger = logging.getLogger(__name__)

_SHOWN = 10

_VAL_FRACTION = 0.2


class LabelmeReader(Reader):
    """Draw the masks of annotations as they are read.

    Args:
        values: label -> value of its pixels.
        drawing: widths, holes and order.

    """

    def __init__(self, values: Mapping[str, int], drawing: Drawing) -> None:
        self.values, self.drawing = dict(values), drawing

    def mask(self, pair: Pair) -> np.ndarray:
        """Return the mask of an annotation, uint8 (H, W), upright."""
        annotation = read_annotation(Path(pair.mask))
        return draw_mask(annotation, frame_of(annotation, Path(pair.image))[0], self.values, self.drawing)

    def settings(self) -> Any:
        """Return what masks depend on beside the files."""
        return sorted(self.values.items()), tuple(self.drawing)


class Labelme(SegmentationData):
    """Read labelme's JSON files and their images, from a folder and all folders in it.

    All files are read before the first step, and an error lists every one that cannot be used. An image is found by
    the annotation's imagePath, then by its name; otherwise the embedded image is used.

    Args:
        root: folder of the data.
        labels: a file that names a class a line, background first; labels.txt in the root where not given and there.
            Without it and without `classes` every label in the data is a class, in alphabetical order; labels.found.txt
            in the root keeps that list, and new labels are appended to it.
        classes: class names instead of `labels`; the background is added as class 0 where it is not named first.
        colors: one [red, green, blue] of 0..255 a class; see `SegmentationData`.
        aliases: label -> the label that it stands for, such as {rat1: rat, rat2: rat, blurred: __ignore__}.
        line_width: of line and linestrip shapes, in pixels; labelme's own 10.
        point_radius: of point shapes, in pixels; labelme's own 5.
        hole_label: shapes of this label are cut out of the shape around them and show what lies beneath it.
        order: what is drawn over what: file (later shapes over earlier, as labelme does), smaller_on_top, or a list of
            classes, each drawn over those named before it.
        val_fraction: share of the files to validate on, see `SegmentationData`; a fifth where neither this nor `fold`
            is given and the root has neither folders train and val nor lists train.txt and val.txt.
        skip_bad: leave out files that cannot be used, with a warning, instead of stopping.
        **kwargs: see `SegmentationData`.

    Raises:
        FileNotFoundError: no annotation below the root, or no file of labels where one is named.
        ValueError: files that cannot be used, labels that are no class, or a setting that cannot be.

    """

    tree = (
        "Expected:\n"
        "  {root}/**/*.json   as labelme saves them, and each image beside its file or where its imagePath says\n"
        "  {root}/labels.txt  a class a line, _background_ first; optional\n"
        "  {root}/train, val  folders, or lists train.txt and val.txt; optional"
    )

    def __init__(
        self,
        root: str = "data/labelme",
        labels: str | None = None,
        classes: list[str | int] | None = None,
        colors: list[list[int]] | None = None,
        aliases: dict[str, str] | None = None,
        line_width: int = 10,
        point_radius: float = 5,
        hole_label: str | None = None,
        order: Literal["file", "smaller_on_top"] | list[str] = "file",
        val_fraction: float | None = None,
        skip_bad: bool = False,
        **kwargs: Any,
    ) -> None:
        if labels is not None and classes is not None:
            raise ValueError("labels and classes are two ways to say one thing; give one of them")
        self.drawing = checked_drawing(line_width, point_radius, hole_label, order)
        self.skip_bad, self.found = skip_bad, False
        self._sources: Sources | None = None
        self._pairs: dict[str, list[Pair]] | None = None
        folder = Path(root).expanduser()
        if classes is not None:
            names = class_list(map(str, classes))
        elif labels is not None:
            names = read_labels(_given(labels, folder))
        elif (folder / "labels.txt").is_file():
            names = read_labels(folder / "labels.txt")
        else:
            self._sources = self._read(folder)
            names, self.found = self._sources.found(self.drawing, aliases or {}), True
        self.values = label_values(names, aliases)
        check_order(self.drawing, self.values)
        if val_fraction is None and kwargs.get("fold") is None and not has_own_split(folder):
            val_fraction = _VAL_FRACTION
        super().__init__(root, names, colors, val_fraction=val_fraction, **kwargs)

    def prepare_data(self) -> None:
        """Write down the class list that was found in the data; called by one process of a machine."""
        if self.found:
            try:
                write_found(self.root, self.class_names)
            except OSError as error:
                logger.warning("the class list found in the data cannot be kept (%s); give it as `classes`", error)

    def reader(self) -> Reader:
        """Return how annotations become masks."""
        return LabelmeReader(self.values, self.drawing)

    def has_test(self) -> bool:
        """Tell whether there is a folder or a list `test`."""
        return bool(self._split()["test"])

    def pairs(self, split: str) -> list[Pair]:
        """Return the images and annotations of a split as folders or lists have it."""
        return self._split()[split]

    def _split(self) -> dict[str, list[Pair]]:
        """Return the pairs of each split; all train where neither folders nor lists say."""
        if self._pairs is None:
            sources = self._sources or self._read(self.root)
            sources.refuse_unknown(self.values, self.drawing)
            sources = sources.drawn(self.values, self.drawing).without_bad(self.skip_bad)
            pairs = {source.annotation.path: self._pair(source) for source in sources.good}
            files = own_split(list(pairs), sources.root) or {"train": list(pairs), "val": [], "test": []}
            self._pairs = {split: [pairs[path] for path in paths] for split, paths in files.items()}
            self._sources = None  # masks are drawn from the files; what was read need not fill the memory
        return self._pairs

    def _read(self, root: Path) -> Sources:
        """Read all files of the root and say what was odd about them."""
        try:
            if root.is_file():
                raise FileNotFoundError(f"{root} is a file; give the folder that it lies in")
            sources = read_sources(root)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"root: {error}.\n{self.tree.format(root=root)}") from error
        for path, reason in sources.skipped.items():
            logger.warning("%s is left out: %s", path, reason)
        notes = [f"{source.annotation.path}: {note}" for source in sources.good for note in source.notes]
        if notes:
            rest = [f"… ({len(notes)} in all)"] if len(notes) > _SHOWN else []
            logger.warning("odd, but used:\n  %s", "\n  ".join(notes[:_SHOWN] + rest))
        return sources if sources.good else sources.without_bad(self.skip_bad)

    def _pair(self, source: Source) -> Pair:
        path = source.annotation.path
        image = source.image or _extracted(source, self.root)
        return Pair(path.relative_to(self.root).with_suffix("").as_posix(), str(image), str(path))


def _given(labels: str, root: Path) -> Path:
    """Return the file that `labels` names, as it is or below the root."""
    path = Path(labels).expanduser()
    return root / path if not path.is_file() and (root / path).is_file() else path


def _extracted(source: Source, root: Path) -> Path:
    """Return the file that an annotation's embedded image is kept in, written where it is not there yet."""
    data = embedded_image(source.annotation)
    folder = disk_folder(root) / "embedded"
    path = folder / f"{hashlib.sha256(data).hexdigest()[:32]}.{embedded_head(source.annotation)[0]}"
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    return path
