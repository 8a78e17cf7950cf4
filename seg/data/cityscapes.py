"""Cityscapes: 2975 + 500 street scenes of 1024×2048 with fine annotations, 20 thousand more with coarse ones.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016; what is scored and what is
ignored from cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py.
"""

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seg.convert.cityscapes import TREE, read_polygons
from seg.convert.cityscapes_labels import LABELS, TRAIN_LABELS, Label
from seg.data.base import SegmentationData
from seg.data.classes import IGNORE
from seg.data.dataset import Pair, Reader
from seg.data.images import Labels, read_mask

logger = logging.getLogger(__name__)

_ENDINGS = {"labelTrainIds": "_labelTrainIds.png", "labelIds": "_labelIds.png", "polygons": "_polygons.json"}
_CATEGORIES: dict[str, Label] = {}
for _label in TRAIN_LABELS:
    _CATEGORIES.setdefault(_label.category, _label)
"""The 7 categories that are scored -> the first class of each, whose colour they take."""


class Cityscapes(SegmentationData):
    """Read Cityscapes in its official tree: its masks, or its polygons directly.

    The test split's annotations are not public, and those that come with the data are dummies that ignore everything:
    `test` reads val.

    Args:
        root: folder with leftImg8bit and gtFine, or gtCoarse.
        annotations: fine; or coarse, to train on gtCoarse (train, and train_extra where it is there) and to validate on
            the fine val split where that is there.
        source: files that masks are read from; auto takes the first of these that the most frames have, and says which.
        classes: train, the 19 that are trained and scored; categories, the 7 that are scored, without the labels that
            the evaluation ignores (void and the rare ones, such as caravan); all, the 34 ids with nothing ignored.
        crop: [height, width] in pixels that the default augmentation cuts out to train on.
        **kwargs: see `SegmentationData`.

    Raises:
        ValueError: classes that the source does not tell apart.

    """

    tree = TREE

    def __init__(
        self,
        root: str = "data/cityscapes",
        annotations: Literal["fine", "coarse"] = "fine",
        source: Literal["auto", "labelTrainIds", "labelIds", "polygons"] = "auto",
        classes: Literal["train", "categories", "all"] = "train",
        crop: tuple[int, int] = (512, 1024),
        **kwargs: Any,
    ) -> None:
        if classes == "all" and source == "labelTrainIds":
            raise ValueError("source: labelTrainIds masks do not tell all classes apart; set labelIds or polygons")
        names, colors = _named(classes)
        super().__init__(root, names, colors, None, crop, **kwargs)
        self.annotations, self.classes = annotations, classes
        self.source: str | None = None if source == "auto" else source

    def reader(self) -> Reader:
        """Return the reader of masks and of polygons."""
        return _Reader()

    def has_test(self) -> bool:
        """Tell that there are no masks to test on: the official ones are kept for the evaluation server."""
        return False

    def pairs(self, split: str) -> list[Pair]:
        """Return the frames of a split that have an image or an annotation, both of which must be there."""
        if self.source is None:
            self.source = self._find_source()
            logger.warning("%s: masks are read from %s", self.root, self.source)
        self.labels = Labels(self.num_classes, _label_map(self.classes, self.source))
        ending = _ENDINGS[self.source]
        folders = [folder for folder in self._folders(split) if folder.is_dir()]
        if not folders:
            raise FileNotFoundError(f"there is no folder {self._folders(split)[0]}.\n{self._tree()}")
        return [pair for folder in folders for pair in self._pairs(folder, f"_{folder.parent.name}{ending}")]

    def _pairs(self, folder: Path, ending: str) -> list[Pair]:
        """Return the frames of a folder of annotations, whose file names have this ending."""
        images = self.root / "leftImg8bit" / folder.name
        masks, pictures = _frames(folder, ending), _frames(images, "_leftImg8bit.png")
        pairs = []
        for frame in sorted(masks.keys() | pictures.keys()):
            city = (masks.get(frame) or pictures[frame]).parent.name
            image = pictures.get(frame, images / city / f"{frame}_leftImg8bit.png")
            pairs.append(Pair(frame, str(image), str(masks.get(frame, folder / city / f"{frame}{ending}"))))
        return pairs

    def _folders(self, split: str) -> list[Path]:
        """Return the folders of annotations, one a part of the data set, that a split consists of where they exist."""
        fine, coarse = self.root / "gtFine", self.root / "gtCoarse"
        if self.annotations == "fine" or (split == "val" and (fine / "val").is_dir()):
            return [fine / split]
        return [coarse / part for part in ((split, "train_extra") if split == "train" else (split,))]

    def _find_source(self) -> str:
        """Return the kind of file that the most frames have; of several the one nearest to what is trained."""
        folders = self._folders("train") + self._folders("val")
        kinds = [kind for kind in _ENDINGS if self.classes != "all" or kind != "labelTrainIds"]
        found = {kind: sum(len(_frames(folder, _ENDINGS[kind])) for folder in folders) for kind in kinds}
        best = max(kinds, key=lambda kind: found[kind])
        if not found[best] and any(_frames(folder, "_color.png") for folder in folders):
            raise ValueError(
                f"{folders[0].parent} holds _color masks alone. They are pictures for people: several labels share a "
                "colour in them. Unpack the _labelIds.png or _polygons.json files of the same archive beside them."
            )
        return best


class _Reader(Reader):
    def mask(self, pair: Pair) -> np.ndarray:
        """Return the values of a mask file; polygons are drawn with the values of labelIds masks."""
        return read_polygons(pair.mask, "labelIds") if pair.mask.endswith(".json") else read_mask(pair.mask)


def _named(classes: str) -> tuple[list[str], list[list[int]]]:
    """Return the names and official colours of a list of classes; a category has the colour of its first class."""
    chosen: dict[str, Label] = {
        "train": {label.name: label for label in TRAIN_LABELS},
        "categories": _CATEGORIES,
        "all": {label.name: label for label in LABELS if label.id >= 0},
    }[classes]
    return list(chosen), [list(label.color) for label in chosen.values()]


def _label_map(classes: str, source: str) -> dict[int, int]:
    """Return value in the masks -> class."""
    if classes == "all":
        return {}
    categories = list(_CATEGORIES)

    def meaning(label: Label) -> int:
        if label.train_id == IGNORE or classes == "train":
            return label.train_id
        return categories.index(label.category)

    if source == "labelTrainIds":
        return {label.train_id: meaning(label) for label in TRAIN_LABELS}
    return {label.id: meaning(label) for label in LABELS if label.id >= 0}


def _frames(folder: Path, ending: str) -> dict[str, Path]:
    """Return frame -> file, of the files <folder>/<city>/<frame><ending>."""
    return {path.name.removesuffix(ending): path for path in sorted(folder.glob(f"*/*{ending}"))}
