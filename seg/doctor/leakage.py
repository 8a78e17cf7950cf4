"""Checks for images that are there more than once, above all in training and in what scores it."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from seg.doctor.duplicates import exact, groups, near, normal
from seg.doctor.findings import Finding, Place, counted
from seg.doctor.measure import Measured
from seg.doctor.survey import Survey

_FRAME = re.compile(r"(.*?)[_\-. ]*(\d+)$")
_FILMED = 0.8  # median correlation of neighbours: frames of a film, even a second apart, reach 0.9, photographs 0.3
_LEAST = 3


def duplicates(survey: Survey) -> Iterator[Finding]:
    """Find the same and nearly the same images, within and across splits."""
    images = survey.images
    across: list[Place] = []
    within: list[Place] = []
    for group in exact(images):
        first, *rest = (images[index] for index in group)
        for other in rest:
            note = "the same pixels" + ("" if first.mask_digest == other.mask_digest else ", another mask")
            (across if _apart(survey, first, other) else within).append(_place(survey, first, other, note))
    # one pair in two lists is one entry of `images`
    across += [
        Place(image.pair.image, f"listed in {' and '.join(splits)}", image.pair)
        for image in images
        if len(splits := survey.splits_of(image)) > 1
    ]
    if across:
        yield Finding(
            "duplicates",
            "fail",
            f"{counted(len(across), 'image')} in two splits, pixel for pixel: the score is that of images "
            "known by heart",
            "keep each in one split",
            across,
        )
    if within:
        yield Finding(
            "duplicates",
            "warn",
            f"{counted(len(within), 'image')} that repeat another one of the split, pixel for pixel",
            "keep one of each; where the masks differ, the right one",
            within,
        )
    pairs = near(images)
    leaking = [(one, other) for one, other in pairs if _apart(survey, images[one], images[other])]
    if leaking:
        scored = {index for pair in leaking for index in pair if "train" not in survey.splits_of(images[index])}
        of = sum(len(part) for split, part in survey.splits.items() if split != "train")
        yield Finding(
            "duplicates",
            "warn",
            f"{len(scored)} of {of} images that score the network look nearly like one of another split "
            f"({len(leaking)} pairs)",
            _GROUP,
            [_place(survey, images[one], images[other], "nearly alike") for one, other in leaking],
        )
    crossing = set(leaking)
    joined = groups(pair for pair in pairs if pair not in crossing)
    if joined:
        number = sum(map(len, joined))
        yield Finding(
            "duplicates",
            "warn",
            f"{number} images in {counted(len(joined), 'group')} that look nearly alike within a split: encoded "
            "or scaled anew, or filmed a moment later",
            "they count as fewer than they are; when you divide the images anew, keep each group in one split "
            "(data.group)",
            [_place(survey, images[group[0]], images[group[1]], f"a group of {len(group)}") for group in joined],
        )


def films(survey: Survey) -> Iterator[Finding]:
    """Find films, told by numbered names and by neighbours that look alike, with frames in training and elsewhere."""
    frames: dict[str, list[tuple[int, Measured]]] = defaultdict(list)
    for image in survey.images:
        stem = os.path.basename(image.pair.id)
        if (found := _FRAME.fullmatch(stem)) and image.bits is not None:
            frames[found.group(1)].append((int(found.group(2)), image))
    places, scored = [], 0
    for name, numbered in frames.items():
        film = [image for _, image in sorted(numbered, key=lambda entry: entry[0])]
        splits: dict[str, list[int]] = defaultdict(list)
        for position, image in enumerate(film):
            for split in survey.splits_of(image):
                splits[split].append(position)
        if "train" not in splits or len(splits) < 2 or len(film) < _LEAST or _likeness(film) < _FILMED:
            continue
        count = {split: len(part) for split, part in splits.items()}
        scored += sum(number for split, number in count.items() if split != "train")
        shown = next(part[0] for split, part in splits.items() if split != "train")
        nearest = min(splits["train"], key=lambda position: abs(position - shown))
        note = ", ".join(f"{number} in {split}" for split, number in count.items())
        first = os.path.basename(film[0].pair.id)
        places.append(Place(f"{name or first}…", note, film[nearest].pair, film[shown].pair))
    if places:
        yield Finding(
            "duplicates",
            "warn",
            f"{counted(len(places), 'film or sequence', 'films or sequences')} with frames both in train and "
            f"elsewhere ({scored} of the frames that score the network): the score flatters",
            _GROUP,
            places,
        )


_GROUP = (
    "keep what was filmed together in one split: data.group, a regular expression such as '(.+)_[0-9]+$', with "
    "data.val_fraction; where the split is the official one, say so beside the score"
)


def _likeness(film: list[Measured]) -> float:
    """Return the median correlation of neighbours' thumbnails."""
    looks = np.stack([normal(image.look) for image in film if image.look is not None])
    return float(np.median((looks[1:] * looks[:-1]).sum(1)))


def _apart(survey: Survey, one: Measured, other: Measured) -> bool:
    """Tell whether no split holds both images."""
    return not set(survey.splits_of(one)) & set(survey.splits_of(other))


def _place(survey: Survey, one: Measured, other: Measured, note: str) -> Place:
    splits = " and ".join(dict.fromkeys([*survey.splits_of(one), *survey.splits_of(other)]))
    return Place(one.pair.image, f"{os.path.basename(other.pair.image)} ({splits}; {note})", one.pair, other.pair)
