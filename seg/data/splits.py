"""Dividing a data set into training and validation: by fraction or fold, stratified by class, groups kept together.

Source: Sechidis, Tsoumakas, Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011, algorithm 1; here
with groups of images as the units that are dealt, and with ties broken by a hash instead of a random number.
"""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pytorch_lightning.utilities import rank_zero_only, rank_zero_warn

from seg.data.cache import disk_folder
from seg.data.dataset import Pair
from seg.files import replacing


@dataclass(frozen=True)
class Split:
    """Hold how training and validation are divided, checked.

    Args:
        val_fraction: share of the images to validate on, or None.
        fold: (k, n): the k-th of n folds, counted from 1, is validated, the others are trained on; or None.
        group: what images belong together: a regular expression whose first group is the group's name, searched for in
            the image's name; a mapping from names to groups; or a CSV file with the columns id and group.
        seed: another one gives another division.

    Raises:
        ValueError: a setting that cannot be.

    """

    val_fraction: float | None = None
    fold: tuple[int, int] | None = None
    group: str | dict[str, str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.val_fraction is not None and self.fold is not None:
            raise ValueError("val_fraction and fold are two ways to divide the images; give one of them")
        if self.val_fraction is not None and not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction: {self.val_fraction} must lie between 0 and 1, such as 0.2")
        if self.fold is not None:
            number, folds = self.fold
            if folds < 2 or not 1 <= number <= folds:
                raise ValueError(
                    f"fold: {list(self.fold)} must be [k, n], the k-th of n folds: [1, 5], [2, 5], … up to [5, 5]"
                )
        if self.group is not None and not self.divides:
            raise ValueError("group: it says which images val_fraction and fold keep together; give one of these too")
        if isinstance(self.group, str) and not self.group.lower().endswith(".csv"):
            try:
                found = re.compile(self.group)
            except re.error as error:
                raise ValueError(f"group: '{self.group}' is no regular expression ({error})") from error
            if not found.groups:
                raise ValueError(
                    f"group: '{self.group}' has no group; put what names the scene in parentheses, such as (.+)_[0-9]+"
                )

    @property
    def divides(self) -> bool:
        """Whether images are divided at all, instead of taken as the data set's own lists have them."""
        return self.val_fraction is not None or self.fold is not None

    def groups(self, ids: Sequence[str], root: Path) -> dict[str, str] | None:
        """Return the group of each image, None without groups.

        Raises:
            FileNotFoundError: the CSV file is not there.
            ValueError: images without a group, or a CSV file without the columns.

        """
        if self.group is None:
            return None
        if isinstance(self.group, dict):
            found = {str(name): str(group) for name, group in self.group.items()}
        elif self.group.lower().endswith(".csv"):
            found = _read_groups(root / self.group)
        else:
            matches = {name: re.search(self.group, name) for name in ids}
            found = {name: match[1] for name, match in matches.items() if match and match[1] is not None}
        if without := [name for name in ids if name not in found]:
            shown = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
            told = self.group if isinstance(self.group, str) else "the mapping"
            raise ValueError(f"group: {told} gives no group to {len(without)} of {len(ids)} images: {shown}")
        return {name: found[name] for name in ids}


def split(
    ids: Sequence[str],
    classes_of: Mapping[str, Collection[int]],
    fraction: float | None = None,
    fold: tuple[int, int] | None = None,
    seed: int = 0,
    group_of: Mapping[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """Divide images into those to train on and those to validate on, alike in the classes that they hold.

    The result depends on the names, classes, groups and settings alone, not on the order of the names. Without groups
    the parts have exactly the sizes that were asked for (rounded); with groups they come as near as the groups allow.

    Args:
        ids: names of the images, all different.
        classes_of: the classes that each image contains.
        fraction: share of the images to validate on.
        fold: (k, n) instead: the k-th of n folds, from 1, is validated. The n folds are disjoint and cover everything.
        seed: another one gives another division.
        group_of: the group of each image; no group is in two parts.

    Returns:
        the names to train on and those to validate on, in the order in which they were given.

    Raises:
        ValueError: a division that would leave a part empty, or names that appear twice.

    """
    part_of = deal(ids, classes_of, Split(fraction, fold, None, seed), group_of)
    held = "val" if fold is None else str(fold[0])
    return [name for name in ids if part_of[name] != held], [name for name in ids if part_of[name] == held]


def deal(
    ids: Sequence[str], classes_of: Mapping[str, Collection[int]], settings: Split, group_of: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the part of each image: "train" or "val", or the number of its fold; see `split`."""
    if twice := sorted(name for name, count in Counter(ids).items() if count > 1):
        raise ValueError(f"{len(twice)} images share a name with another: {', '.join(twice[:5])}; names must differ")
    groups: dict[str, list[str]] = {}
    for name in sorted(ids):
        groups.setdefault(name if group_of is None else group_of[name], []).append(name)
    sizes = _sizes(len(ids), len(groups), settings, "images" if group_of is None else "groups of images")
    units = [
        _Unit(members, Counter(label for name in members for label in set(classes_of[name])))
        for members in sorted(groups.values(), key=lambda members: (-len(members), _hash(settings.seed, members[0])))
    ]
    names = list(sizes)
    parts = _iterative_stratification(units, list(sizes.values()))
    return {name: names[part] for unit, part in zip(units, parts, strict=True) for name in unit.members}


def _sizes(images: int, units: int, settings: Split, what: str) -> dict[str, int]:
    """Return the name and the wanted size of each part."""
    if settings.fold is not None:
        folds = settings.fold[1]
        if units < folds:
            raise ValueError(f"fold: {list(settings.fold)} asks for {folds} folds of {units} {what}; take fewer folds")
        return {str(number + 1): images // folds + (number < images % folds) for number in range(folds)}
    assert settings.val_fraction is not None
    validated = int(settings.val_fraction * images + 0.5)
    if units < 2:
        raise ValueError(f"val_fraction: {units} {what} cannot be divided in two; add some, or give lists of your own")
    if not 0 < validated < images:
        empty = "validation" if validated == 0 else "training"
        raise ValueError(
            f"val_fraction: {settings.val_fraction} of {images} images leaves none for {empty}; "
            f"give {1 / images:.2g} to {1 - 1 / images:.2g}"
        )
    return {"train": images - validated, "val": validated}


class _Unit(NamedTuple):
    """Images that stay together, and in how many of them each class is."""

    members: list[str]
    classes: Counter[int]


def _iterative_stratification(units: Sequence[_Unit], sizes: Sequence[int]) -> list[int]:
    """Deal the units to parts, those of the rarest class first, each to the part that lacks most of that class."""
    left = Counter(label for unit in units for label in unit.classes.elements())
    wanted = {label: [count * size / sum(sizes) for size in sizes] for label, count in left.items()}
    room = list(sizes)
    parts = [-1] * len(units)
    undealt = list(range(len(units)))
    empty = set(range(len(sizes)))
    while undealt:
        rarest = min((label for label in left if left[label]), key=lambda label: (left[label], label), default=None)
        batch = [index for index in undealt if rarest is None or rarest in units[index].classes]
        for dealt, index in enumerate(batch):
            size = len(units[index].members)
            fitting = [part for part, free in enumerate(room) if free >= size]
            fitting = fitting or [part for part, free in enumerate(room) if free > 0] or list(range(len(sizes)))
            if len(undealt) - dealt <= len(empty):  # large groups have filled some parts beyond their size
                fitting = sorted(empty)
            lack = wanted[rarest] if rarest is not None else room
            part = max(fitting, key=lambda part: (lack[part], room[part], -part))
            parts[index] = part
            empty.discard(part)
            room[part] -= size
            for label, count in units[index].classes.items():
                wanted[label][part] -= count
                left[label] -= count
        undealt = [index for index in undealt if parts[index] < 0]
    return parts


def _hash(seed: int, name: str) -> str:
    """Return what orders the units: the same on every machine and with every version of numpy."""
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()


def divide(
    settings: Split,
    pool: Sequence[Pair],
    test: Sequence[Pair],
    counts: Callable[[Sequence[Pair]], np.ndarray],
    root: Path,
) -> dict[str, list[Pair]]:
    """Divide a data set's files into train and val, as they were divided the first time that this was asked for.

    The division is written to a CSV file (id, part, group) in the folder `.cache/splits` of the data set, and read from
    there ever after: masks that are corrected later move no image from one part to another. Which file that is depends
    on the images' names and groups and on the settings. Of folds one file holds all, whichever is asked for.

    Args:
        settings: how to divide.
        pool: the files to divide.
        test: files of the test split; where there are groups, images of groups that it has are left out of the pool.
        counts: returns the pixels of each class in each file, (files, classes); it is asked only the first time.
        root: folder of the data set, where a CSV file of groups is looked for.

    Returns:
        the files of "train" and of "val", in the order of the pool.

    """
    groups = settings.groups([pair.id for pair in pool], root)
    if groups is not None and test:
        tested = set((settings.groups([pair.id for pair in test], root) or {}).values())
        kept = [pair for pair in pool if groups[pair.id] not in tested]
        if len(kept) < len(pool):
            rank_zero_warn(
                f"group: {len(pool) - len(kept)} images are left out of training and validation, "
                "because their groups are in the test split"
            )
        pool, groups = kept, {pair.id: groups[pair.id] for pair in kept}
    ids = [pair.id for pair in pool]
    how = f"val_fraction-{settings.val_fraction}" if settings.fold is None else f"folds-{settings.fold[1]}"
    named = repr((how, settings.seed, sorted((name, groups and groups[name]) for name in ids)))
    key = hashlib.sha256(named.encode()).hexdigest()[:12]
    file = disk_folder(root) / "splits" / f"{how}-seed-{settings.seed}-{key}.csv"
    if file.is_file():
        part_of = _read_parts(file, ids, settings)
    else:
        classes = [np.flatnonzero(pixels).tolist() for pixels in counts(pool)]
        part_of = deal(ids, dict(zip(ids, classes, strict=True)), settings, groups)
        with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(["id", "part", "group"])
            rows.writerows([name, part_of[name], groups[name] if groups else ""] for name in sorted(ids))
    held = "val" if settings.fold is None else str(settings.fold[0])
    parts: dict[str, list[Pair]] = {"train": [], "val": []}
    for pair in pool:
        parts["val" if part_of[pair.id] == held else "train"].append(pair)
    _say(f"{len(parts['train'])} images to train on, {len(parts['val'])} to validate on, divided as in {file}")
    return parts


@rank_zero_only
def _say(text: str) -> None:
    print(text, flush=True)


def _read_parts(file: Path, ids: Sequence[str], settings: Split) -> dict[str, str]:
    names = {"train", "val"} if settings.fold is None else {str(number + 1) for number in range(settings.fold[1])}
    with file.open(newline="", encoding="utf-8", errors="replace") as stream:
        part_of = {row.get("id", ""): row.get("part", "") for row in csv.DictReader(stream)}
    if set(part_of) != set(ids) or not names.issuperset(part_of.values()):
        raise ValueError(f"{file} gives no part to some of the {len(ids)} images; remove it to divide them anew")
    return part_of


def _read_groups(file: Path) -> dict[str, str]:
    if not file.is_file():
        raise FileNotFoundError(f"group: there is no file {file}")
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        rows = csv.DictReader(stream)
        if missing := {"id", "group"} - set(rows.fieldnames or ()):
            raise ValueError(
                f"group: {file} has no column {' and no column '.join(sorted(missing))}; "
                "its first line must name the columns id and group"
            )
        return {row["id"]: row["group"] for row in rows if row["group"]}
