"""What the values in mask files mean, and counting a predicted and a true file by it."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seg.convert.cityscapes_labels import LABELS
from seg.data.classes import IGNORE
from seg.data.images import read_mask
from seg.pairing import Ids, Pair

if TYPE_CHECKING:
    from seg.boundary import BoundaryIoU

_UNKNOWN = -1


class Values:
    """Say what each of the 256 values that a mask file can hold means: a class, ignore, or nothing.

    255 is ignored, as in all masks of the project, unless the map says otherwise.

    Args:
        classes: number of classes.
        ids: what the values are in Cityscapes; class indices where not given.
        ignore: further values that are ignored.
        label_map: value -> class, or 255 for ignore; goes before everything else.
        option: the option that the map came from, for errors.

    Raises:
        ValueError: the map leads to a class that is not there, or a value is none.

    """

    def __init__(
        self,
        classes: int,
        ids: Ids | None = None,
        ignore: Collection[int] = (),
        label_map: Mapping[int, int] | None = None,
        option: str = "--label-map",
    ) -> None:
        for value, label in {**dict.fromkeys(ignore, IGNORE), **(label_map or {})}.items():
            if not 0 <= value < 256 or not (0 <= label < classes or label == IGNORE):
                raise ValueError(
                    f"{option} {value}={label}: this takes a value 0..255 to a class 0..{classes - 1}, or to {IGNORE} "
                    "for ignore"
                )
        meaning = {value: value for value in range(classes)}
        if ids == "labelIds":
            meaning = {label.id: label.train_id for label in LABELS if label.id >= 0}
        # official rule: a predicted label that is not scored is an error like any other
        self.wrong = {value for value, label in meaning.items() if label == IGNORE}
        meaning = {IGNORE: IGNORE, **meaning, **dict.fromkeys(ignore, IGNORE), **(label_map or {})}
        self.classes, self.option = classes, option
        self.table = torch.tensor([meaning.get(value, _UNKNOWN) for value in range(256)])

    def is_class(self) -> Tensor:
        """Return which values mean a class (256,)."""
        return (self.table != _UNKNOWN) & (self.table != IGNORE)

    def refuse_unknown(self, pixels: Tensor, what: str) -> None:
        """Raise ValueError where one of the `pixels` (256,) has a value without meaning."""
        bad = ((self.table == _UNKNOWN) & (pixels > 0)).nonzero().flatten().tolist()
        if bad:
            listed = ", ".join(f"{value} ({int(pixels[value])} pixels)" for value in bad[:8])
            raise ValueError(
                f"{what}: label {listed} is none of the {self.classes} classes; complete the list of classes, correct "
                f"the mask, or say what the value means: {self.option} {bad[0]}={IGNORE}"
            )


def count(
    pair: Pair, said: Values, true: Values, void_wrong: bool = False, bands: "BoundaryIoU | None" = None
) -> Tensor:
    """Return the confusion matrix (C, C + 1) of a pair of files; the last column is what was predicted as no class.

    Args:
        pair: the files.
        said: what the values in the prediction mean.
        true: what the values in the truth mean.
        void_wrong: count scored pixels that are predicted as ignored, in the last column, instead of refusing them.
        bands: counts the pair too.

    Raises:
        ValueError: files that do not fit each other or hold what is no label, named with the cure.

    """
    prediction, truth = (torch.from_numpy(read_mask(path)) for path in (pair.prediction, pair.truth))
    if prediction.shape != truth.shape:
        (height, width), (true_height, true_width) = prediction.shape, truth.shape
        raise ValueError(
            f"{pair.prediction} is {height}×{width} (height × width) but its truth {pair.truth} is "
            f"{true_height}×{true_width}; predict at that size, or scale the labels to it without interpolating"
        )
    # Values first, meanings later: what is asked of every pixel is asked of 256 × 256 counts.
    joint = torch.bincount(truth.flatten().int().mul_(256).add_(prediction.flatten()), minlength=65536).view(256, 256)
    true.refuse_unknown(joint.sum(1), f"truth {pair.truth}")
    scored = joint[true.is_class()].sum(0)
    said.refuse_unknown(scored, f"prediction {pair.prediction}")
    void = ((said.table == IGNORE) & (scored > 0)).nonzero().flatten().tolist()
    if refused := [value for value in void if not void_wrong and value not in said.wrong]:
        listed = ", ".join(f"{value} ({int(scored[value])} pixels)" for value in refused)
        raise ValueError(
            f"prediction {pair.prediction}: {listed} means ignore, on pixels that are scored; predict a class there, "
            "or count such pixels as wrong: --void-wrong"
        )
    rest = true.classes
    rows, columns = (torch.where(values.is_class(), values.table, rest) for values in (true, said))
    if bands is not None:
        bands.update(columns.byte()[prediction.long()][None], rows.byte()[truth.long()][None])
    cells = (rows[:, None] * (rest + 1) + columns).flatten()
    counts = torch.zeros((rest + 1) ** 2, dtype=torch.int64).scatter_add_(0, cells, joint.flatten())
    return counts.view(rest + 1, rest + 1)[:rest]
