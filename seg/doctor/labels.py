"""Checks of what the masks hold: values that are no class, masks without content, classes that are missing or rare."""

from collections import Counter
from collections.abc import Collection, Iterator

from seg.convert.outlines import is_background
from seg.data.classes import IGNORE
from seg.doctor.findings import Finding, Place, counted
from seg.doctor.survey import ALL, Survey

RARE = 1e-3
"""Share of the training pixels below which a class is called rare."""
_FEW_IMAGES = 3  # with fewer, a class is learnt by heart; told of data sets in which it could be otherwise
_MANY_IMAGES = 20


_UNJUDGED = "not judged before the label values are cured"


def values(survey: Survey) -> Iterator[Finding]:
    """Find values that are no class, with the label_map that probably says what they mean, and 255 as an object."""
    seen: Counter[int] = Counter()
    places = []
    for measured in survey.readable():
        seen.update(measured.values)
        if bad := [value for value in measured.values if survey.meaning(value) is None]:
            listed = ", ".join(f"{value} ({measured.values[value]} pixels)" for value in bad[:8])
            places.append(Place(measured.pair.mask, listed + (", …" if len(bad) > 8 else ""), measured.pair))
    count = survey.data.num_classes
    if places:
        bad = sorted(value for value in seen if survey.meaning(value) is None)
        listed = ", ".join(map(str, bad[:12])) + (", …" if len(bad) > 12 else "")
        yield Finding(
            "label values",
            "fail",
            f"{counted(len(places), 'mask')} with values that are no class: {listed} (there are {count} "
            f"classes, 0..{count - 1}, and {IGNORE} for ignore)",
            f"complete `classes`, correct the masks, or say what the values mean: {_written(suggested(seen, count))}",
            places,
        )
    elif _objects_ignored(survey):
        holding = [measured for measured in survey.readable() if IGNORE in measured.values]
        objects = [Place(m.pair.mask, f"{m.values[IGNORE]} pixels of 255", m.pair) for m in holding]
        yield Finding(
            "label values",
            "fail",
            "the masks hold nothing but 0 and 255, and 255 is ignored: only class 0 would be learnt",
            "if 255 is an object, say label_map: {255: 1}",
            objects,
        )


def suggested(seen: Collection[int], classes: int) -> dict[int, int]:
    """Return the label_map that values in masks probably need, of those whose meaning it changes.

    Args:
        seen: all values in the masks.
        classes: length of the class list.

    """
    ordered = sorted(value for value in seen if value != IGNORE)
    if ordered == list(range(1, classes + 1)):
        return {value: value - 1 for value in ordered}  # counted from 1
    for found in (ordered, sorted(seen)):
        if len(found) == classes and found != list(range(1, classes + 1)):
            return {value: label for label, value in enumerate(found) if value != label}  # spread over 0..255
    return {value: IGNORE for value in ordered if value >= classes}


def empty(survey: Survey) -> Iterator[Finding]:
    """Find masks that are ignored throughout, or hold nothing but the background."""
    if _objects_ignored(survey):
        yield Finding("empty masks", "pass", _UNJUDGED)
        return
    ignored, background = [], []
    names = survey.data.class_names
    for measured in survey.readable():
        found = set(survey.class_pixels(measured))
        if found == {IGNORE}:
            ignored.append(Place(measured.pair.mask, "every pixel is ignored", measured.pair))
        elif found <= {0, IGNORE} and 0 in found and is_background(names[0]):
            background.append(Place(measured.pair.mask, f"nothing but {names[0]}", measured.pair))
    if ignored:
        yield Finding(
            "empty masks",
            "warn",
            f"{counted(len(ignored), 'mask')} ignored throughout: nothing is learnt from them, nothing scored",
            "take them out of the list, or annotate them",
            ignored,
        )
    if background:
        yield Finding(
            "empty masks",
            "warn",
            f"{counted(len(background), 'mask')} with nothing but background",
            "nothing to do if these images are there as counter-examples; otherwise annotate them or take them out",
            background,
        )


def frequencies(survey: Survey) -> Iterator[Finding]:
    """Find classes that a split lacks, classes that are rare in training, and training on one class alone."""
    names, training = survey.data.class_names, survey.training
    tables = {split: table for split, table in survey.frequencies.items() if table.any()}
    if _objects_ignored(survey):
        yield Finding("classes", "pass", _UNJUDGED)
    if training not in tables or _objects_ignored(survey):
        return
    pixels, images = (row[:-1] for row in tables[training])
    present = [name for name, count in zip(names, pixels, strict=True) if count]
    if len(present) < 2:
        held = f"nothing but {present[0]}" if present else "no class at all"
        yield Finding("classes", "fail", f"the {training} split holds {held}", "complete the masks, or `label_map`")
        return
    for split, table in tables.items():
        lacking = [
            Place(name, f"in no image of {split}") for name, count in zip(names, table[1], strict=False) if not count
        ]
        if not lacking:
            continue
        effect = (
            "nothing to learn from" if split in ("train", ALL) else "nothing to score, IoU leaves them out of the mean"
        )
        cure = "take them out of `classes`, or add images" if split in ("train", ALL) else "divide the images anew"
        yield Finding(
            "classes",
            "warn",
            f"{counted(len(lacking), 'class', 'classes')} missing in {split}: {effect}",
            cure,
            lacking,
        )
    rare = []
    total = int(pixels.sum())
    few = _FEW_IMAGES if len(survey.splits[training]) >= _MANY_IMAGES else 0
    for name, count, shown in zip(names, pixels.tolist(), images.tolist(), strict=True):
        if count and (count < RARE * total or shown < few):
            note = f"{100 * count / total:.3f} % of the pixels, in {counted(shown, 'image')}"
            label = names.index(name)
            most = max(survey.readable(training), key=lambda measured: survey.class_pixels(measured)[label])
            rare.append(Place(name, note, most.pair))
    if rare:
        yield Finding(
            "classes",
            "warn",
            f"{counted(len(rare), 'class', 'classes')} rare in {training} (below {100 * RARE:g} % of the "
            f"pixels, or in fewer than {_FEW_IMAGES} images)",
            "data.sampling: balanced, data.rare_crops, or class weights in the loss (class_weights: "
            "inverse_square_root) make the network see them",
            rare,
        )


def _objects_ignored(survey: Survey) -> bool:
    """Tell whether masks hold 0 and 255 alone, which is how many tools write one kind of object, and 255 is ignored."""
    seen = set().union(*(measured.values for measured in survey.readable()))
    return seen == {0, IGNORE} and IGNORE not in survey.data.labels.label_map


def _written(label_map: dict[int, int]) -> str:
    return "label_map: {" + ", ".join(f"{value}: {label}" for value, label in label_map.items()) + "}"
