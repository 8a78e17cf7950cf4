"""Check of the labels that training will see: no value that is no class, none shifted by one."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from seg.data.base import SegmentationData
from seg.data.classes import IGNORE
from seg.doctor.findings import Finding, Place
from seg.doctor.setup import Setup

LOOKED_AT = 64
"""Masks, evenly spread over the training split: some tenths of a second. `seg doctor data` looks at all."""


def labels(setup: Setup) -> Iterator[Finding]:
    """Find values in masks that are no class, and masks that never show the first class."""
    yield from of_data(setup.data)


def of_data(data: SegmentationData) -> Iterator[Finding]:
    """Find the same, of a data module alone, whose training split is set up.

    Masks whose values begin with 1 either run over the last class, which is an error of its own, or, where the last
    class is rare, train all classes under the name of their neighbour: then class 0 is never seen.
    """
    dataset = data.datasets["train"]
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(int))
    counts: Counter[int] = Counter()
    for index in chosen:
        values = np.bincount(dataset.reader.mask(dataset.pairs[index]).ravel(), minlength=256)
        for value in np.flatnonzero(values).tolist():
            counts[data.labels.label_map.get(value, value)] += int(values[value])
    last = data.num_classes - 1
    shown = f"{len(chosen)} of {len(dataset)} training masks"
    wrong = sorted(value for value in counts if value > last and value != IGNORE)
    known = sum(count for value, count in counts.items() if value <= last)
    if wrong:
        shifted = wrong == [last + 1] and not counts[0]
        text = f"{shown} hold {', '.join(map(str, wrong))}, where classes are 0..{last} and {IGNORE} is ignored"
        if shifted:
            ends = f"{{1: 0, 2: 1, …, {last + 1}: {last}}}" if last > 1 else "{1: 0, 2: 1}"
            yield Finding(
                "labels",
                "fail",
                f"{text}; 0 is never there: the labels are off by one",
                f"data.label_map: {ends} moves them, or name the missing class in data.classes",
            )
        else:
            yield Finding(
                "labels",
                "fail",
                text,
                f"name these classes in data.classes, or map the values: data.label_map: {{{wrong[0]}: {IGNORE}}}",
                [Place(str(value), f"{counts[value]} pixels") for value in wrong],
            )
    elif not known:
        yield Finding(
            "labels", "fail", f"{shown} hold nothing but ignored pixels", "look at label_map and at the masks' values"
        )
    elif not counts[0]:
        yield Finding(
            "labels",
            "warn",
            f"class 0 ({data.class_names[0]}) is in none of {shown}; where masks begin with 1 all labels are "
            "off by one",
            "compare the names in data.classes with the masks (the augmentation picture shows both); data.label_map "
            "moves labels",
        )
    else:
        there = sum(1 for value in counts if value <= last)
        yield Finding("labels", "pass", f"{shown} hold {there} of {data.num_classes} classes, and no other label")
