"""Which predicted mask belongs to which mask of the truth, by name; Cityscapes by its official names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""What counts as a mask in a folder: formats that keep labels as they are."""

Ids = Literal["labelIds", "trainIds"]
"""What the values in a mask of Cityscapes are."""

_OFFICIAL = re.compile(r"([^_]+_\d{6}_\d{6})(_.*)?")
_KINDS: dict[str, Ids] = {"_labelIds": "labelIds", "_labelTrainIds": "trainIds"}
_NO_LABELS = ("_color", "_instanceIds", "_instanceTrainIds")


class Pair(NamedTuple):
    """The two masks of an image; for Cityscapes with what their values are."""

    name: str
    prediction: Path
    truth: Path
    prediction_ids: Ids | None = None
    truth_ids: Ids | None = None


def match(predictions: Path, truth: Path, names: Sequence[str] | None = None) -> tuple[list[Pair], list[Path]]:
    """Pair the masks of two folders by their path below the folder, or by file name where the folders differ in that.

    Args:
        predictions: folder, searched with its subfolders.
        truth: folder, searched with its subfolders.
        names: of the masks that count, as in a split's list; all of the truth where not given.

    Returns:
        the pairs in the order of their names, and the predictions that belong to no mask of the truth.

    Raises:
        FileNotFoundError: a folder is not there or has no mask, or masks have no partner, which are listed.
        ValueError: two masks of a folder have the same name.

    """
    predicted, wanted = masks_in(predictions, truth), chosen(masks_in(truth, predictions), names, truth)
    if not wanted.keys() <= predicted.keys():
        alone = [{path.stem: path for path in masks.values()} for masks in (predicted, wanted)]
        if len(alone[0]) == len(predicted) and len(alone[1]) == len(wanted):
            predicted, wanted = alone
    return join(predicted, wanted, predictions, truth)


def match_cityscapes(
    predictions: Path,
    truth: Path,
    names: Sequence[str] | None = None,
    prediction_ids: Ids | None = None,
    truth_ids: Ids | None = None,
) -> tuple[list[Pair], list[Path]]:
    """Pair masks of Cityscapes by <city>_<sequence>_<frame>, whatever follows it; other names as `match` does.

    Where there is a labelIds and a labelTrainIds mask of an image, the labelIds count, as they do officially.

    Args:
        predictions: folder, searched with its subfolders.
        truth: folder, searched with its subfolders.
        names: of the masks that count, as in a split's list; all of the truth where not given.
        prediction_ids: what the predictions' values are; where not given, names, palettes and values are asked.
        truth_ids: what the truth's values are, likewise.

    Raises:
        FileNotFoundError: as in `match`.
        ValueError: several masks of an image, or nothing that tells labelIds from train ids.

    """
    wanted = official(masks_in(truth, predictions), truth_ids)
    if wanted:
        names = names and [found[1] if (found := _OFFICIAL.fullmatch(Path(name).name)) else name for name in names]
        predicted = official(masks_in(predictions, truth), prediction_ids)
        pairs, left = join(predicted, chosen(wanted, names, truth), predictions, truth)
    else:
        pairs, left = match(predictions, truth, names)
    known = zip(
        pairs,
        ids_of([pair.prediction for pair in pairs], prediction_ids, "--prediction-ids"),
        ids_of([pair.truth for pair in pairs], truth_ids, "--truth-ids"),
        strict=True,
    )
    return [pair._replace(prediction_ids=one, truth_ids=other) for pair, one, other in known], left


_BESIDE = ("overlays", "confidence", "entropy", "probabilities")


def masks_in(folder: Path, other: Path) -> dict[str, Path]:
    """Return the masks below a folder by their path without suffix.

    Left out are those of the other folder, should it lie inside, hidden files, and what `seg predict` saves of the same
    images beside their masks.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: there is no such folder of masks")
    inside = other.resolve() != folder.resolve() and other.resolve().is_relative_to(folder.resolve())
    masks: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in below.parts):
            continue
        if not path.is_file() or (inside and path.resolve().is_relative_to(other.resolve())):
            continue
        name = below.with_suffix("").as_posix()
        if masks.setdefault(name, path) != path:
            raise ValueError(f"{masks[name]} and {path} have one name; take one of them out of the folder")
    for name in [name for name in masks if name.partition("/")[0] in _BESIDE and name.partition("/")[2] in masks]:
        del masks[name]
    if not masks:
        raise FileNotFoundError(f"{folder}: no mask in it; looked for files ending in {', '.join(SUFFIXES)}")
    return masks


def chosen(masks: dict[str, Path], names: Sequence[str] | None, folder: Path) -> dict[str, Path]:
    """Return the masks that a list names, by their name or file name, or all where there is no list."""
    if names is None:
        return masks
    known = {key: name for name in masks for key in (name, name.rpartition("/")[2])}
    names = [name if name in known else name.rpartition("/")[2] for name in names]
    if unknown := [name for name in names if name not in known]:
        raise FileNotFoundError(f"--list: {some(unknown)}: no such mask in {folder}; correct the list or the folder")
    return {known[name]: masks[known[name]] for name in names}


def join(
    predicted: dict[str, Path], wanted: dict[str, Path], predictions: Path, truth: Path
) -> tuple[list[Pair], list[Path]]:
    """Pair what has the same name, and return the predictions left over; refuse a truth without prediction."""
    if missing := [str(path.relative_to(truth)) for name, path in wanted.items() if name not in predicted]:
        raise FileNotFoundError(
            f"{len(missing)} of {len(wanted)} masks in {truth} have no prediction in {predictions}: {some(missing)}. "
            "Predict these images too, rename the predictions after the masks, or name the masks to score in --list"
        )
    pairs = [Pair(name, predicted[name], wanted[name]) for name in sorted(wanted)]
    return pairs, [path for name, path in predicted.items() if name not in wanted]


def official(masks: dict[str, Path], ids: Ids | None) -> dict[str, Path]:
    """Return the label masks that are named as Cityscapes' are, by <city>_<sequence>_<frame>."""
    images: dict[str, list[Path]] = {}
    for path in masks.values():
        name = _OFFICIAL.fullmatch(path.stem)
        if name and not path.stem.endswith(_NO_LABELS):
            images.setdefault(name[1], []).append(path)
    found = {}
    for key, paths in images.items():
        # a mask of the wanted kind goes before others of the same image
        preferred = [path for path in paths if named_ids(path) == (ids or "labelIds")] if len(paths) > 1 else paths
        if len(preferred) != 1:
            raise ValueError(f"{some([str(path) for path in paths])}: several masks of one image; leave one")
        found[key] = preferred[0]
    return found


def named_ids(path: Path) -> Ids | None:
    """Return what the name of a mask says that its values are."""
    return next((ids for ending, ids in _KINDS.items() if path.stem.endswith(ending)), None)


def ids_of(paths: Sequence[Path], given: Ids | None, option: str) -> list[Ids]:
    """Return what the values of each mask are: as given, as named, or as recognised from all that are not named."""
    known = [given or named_ids(path) for path in paths]
    unnamed = [path for path, ids in zip(paths, known, strict=True) if ids is None]
    recognised = recognise(unnamed, option) if unnamed else "labelIds"
    return [ids or recognised for ids in known]


def recognise(paths: Sequence[Path], option: str) -> Ids:
    """Tell labelIds from train ids: by the first mask's palette, or by values that are an id but no train id."""
    from PIL import Image

    from seg.convert.cityscapes_labels import LABELS, TRAIN_LABELS
    from seg.data.images import read_mask

    read_mask(paths[0])  # says what is wrong with the file, if anything is
    with Image.open(paths[0]) as image:
        palette = image.getpalette() or []
    colors = [tuple(palette[3 * value : 3 * value + 3]) for value in range(len(TRAIN_LABELS))]
    if colors == [label.color for label in TRAIN_LABELS]:
        return "trainIds"
    last = max(label.id for label in LABELS)
    for path in paths:
        mask = read_mask(path)
        if ((mask >= len(TRAIN_LABELS)) & (mask <= last)).any():
            return "labelIds"
    raise ValueError(
        f"{paths[0]}: neither its name (…_labelIds, …_labelTrainIds) nor its palette or values tell what its values "
        f"are; say so with {option} labelIds or {option} trainIds"
    )


def some(names: Sequence[str]) -> str:
    """Return the first names for a message."""
    return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "")
