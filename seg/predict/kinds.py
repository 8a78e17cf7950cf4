"""What can be saved of a prediction, and what writes it."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seg.files import replacing
from seg.predict.visible import Visible, bands


@dataclass
class Predicted:
    """What is known of an image when its files are written.

    `visible` is the image, where some kind shows it; `labels` uint8 (H, W); `confidence` (the largest probability) and
    `entropy` (relative to its maximum) uint8 (H, W), 255 for 1, where some kind needs them; `probabilities` float
    (C, H, W), or the file that holds them; `certainty` and `doubt` the means of confidence and entropy over the image,
    not rounded.
    """

    path: Path
    visible: Visible | None
    labels: np.ndarray
    names: list[str]
    colors: list[list[int]]
    confidence: np.ndarray | None = None
    entropy: np.ndarray | None = None
    probabilities: np.ndarray | Path | None = None
    certainty: float = 0.0
    doubt: float = 0.0

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        arrays = (self.visible and self.visible.image, self.labels, self.confidence, self.entropy, self.probabilities)
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


class Annotating(NamedTuple):
    """How labelme files are written.

    Args:
        tolerance: pixels that outlines may move.
        uncertain_below: mean confidence below which a shape, or the image, is flagged.
        embed: put the image into the file.
        replace: also what a hand has made or corrected.

    """

    tolerance: float = 1.0
    uncertain_below: float = 0.7
    embed: bool = False
    replace: bool = False


class ByHand(Exception):
    """A labelme file stays as it is, since a hand has made or corrected it."""


class Kind(NamedTuple):
    """A kind of output: the suffix of its files, what it needs beside labels, what writes it, and what it is."""

    suffix: str
    needs: frozenset[str]
    write: Callable[[Path, Predicted, Annotating], None]
    text: str


def write_mask(target: Path, predicted: Predicted, _: Annotating) -> None:
    """Write labels as an indexed PNG in the palette of the classes."""
    from seg.convert.palette import full_palette
    from seg.convert.png import write_palette

    write_palette(target, predicted.labels, full_palette(predicted.colors))


def write_overlay(target: Path, predicted: Predicted, _: Annotating) -> None:
    """Write the labels' colours over the image."""
    from seg import draw
    from seg.convert.png import write_color

    image, labels = predicted.visible, predicted.labels
    assert image is not None
    height, width = labels.shape

    def parts() -> Iterator[np.ndarray]:
        for rows in bands(height, width):
            around = slice(max(0, rows.start - 1), rows.stop + 1)  # a border is drawn on both of its sides
            drawn = draw.overlay(image.rows(around), labels[around], predicted.colors)
            yield drawn[rows.start - around.start : rows.stop - around.start]

    write_color(target, parts(), height, width)


def write_ids(target: Path, predicted: Predicted, _: Annotating) -> None:
    """Write ids of Cityscapes as a grey PNG."""
    from seg.convert.cityscapes import ids_of
    from seg.convert.png import write_grey

    write_grey(target, ids_of(predicted.labels))


def write_probabilities(target: Path, predicted: Predicted, _: Annotating) -> None:
    """Write probabilities float32 (C, H, W) as a .npy file."""
    assert predicted.probabilities is not None
    with replacing(target) as temporary:
        if isinstance(predicted.probabilities, Path):
            os.replace(predicted.probabilities, temporary)
        else:
            np.save(temporary, predicted.probabilities)


def write_map(name: str) -> Callable[[Path, Predicted, Annotating], None]:
    """Return what writes a map of confidence or entropy as a grey PNG."""

    def write(target: Path, predicted: Predicted, _: Annotating) -> None:
        from seg.convert.png import write_grey

        write_grey(target, getattr(predicted, name))

    return write


def write_labelme(target: Path, predicted: Predicted, annotating: Annotating) -> None:
    """Write polygons as a file of labelme's."""
    from seg.predict.annotations import write_annotation

    write_annotation(target, predicted, annotating)


NOTHING: frozenset[str] = frozenset()
KINDS: dict[str, Kind] = {
    "masks": Kind(".png", NOTHING, write_mask, "indexed PNGs in the data set's palette"),
    "overlays": Kind(".png", frozenset({"visible"}), write_overlay, "the same over the image"),
    "cityscapes": Kind(".png", NOTHING, write_ids, "grey PNGs of labelIds, named as its evaluation server expects"),
    "probabilities": Kind(
        ".npy", frozenset({"probabilities"}), write_probabilities, "float32 (classes, height, width)"
    ),
    "confidence": Kind(".png", frozenset({"certainty"}), write_map("confidence"), "grey PNGs, 255 where certain"),
    "entropy": Kind(
        ".png", frozenset({"certainty"}), write_map("entropy"), "grey PNGs, 255 where all are equally likely"
    ),
    "labelme": Kind(".json", frozenset({"certainty"}), write_labelme, "polygons to correct in labelme"),
}
"""What can be saved a file an image; masks lie in the output folder itself, all others in a folder of their name."""


def folder_of(kind: str, out: Path) -> Path:
    """Return where a kind of output lies: masks in `out` itself, all others in a folder of their name below it."""
    return out if kind == "masks" else out / kind


def target_of(kind: str, name: Path, out: Path, image: Path | None = None) -> Path:
    """Return the file that a kind of output is written to.

    Subfolders are kept; but for Cityscapes' evaluation, which finds files by <city>_<sequence>_<frame>*.png wherever
    they lie, and takes those with "gt" in their names for the truth. labelme files lie beside their images where `out`
    is the folder of these: there labelme looks for them.

    Raises:
        ValueError: the image is not named as Cityscapes' frames are.

    """
    if kind == "cityscapes":
        from seg.convert.cityscapes import frame_of

        return folder_of(kind, out) / f"{frame_of(name)}_pred_labelIds.png"
    beside = kind == "labelme" and image is not None and (out / name).parent.resolve() == image.parent.resolve()
    return (out if beside else folder_of(kind, out)) / f"{name}{KINDS[kind].suffix}"


def refuse_other_classes(checkpoint: Path, class_names: list[str]) -> None:
    """Refuse to save ids of Cityscapes' classes for a network that was trained on others.

    Raises:
        ValueError: naming the checkpoint and the first class that differs.

    """
    from seg.convert.cityscapes_labels import TRAIN_LABELS

    known = [label.name for label in TRAIN_LABELS]
    if class_names != known:
        raise ValueError(
            f"--save cityscapes: {checkpoint} was trained on {len(class_names)} classes ({', '.join(class_names[:4])}, "
            f"…); this needs the {len(known)} of data.classes: train of seg.data.Cityscapes ({', '.join(known[:4])}, …)"
        )
