"""Check of label names: those that are probably one name, written in two ways."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from seg.convert.labelme_labels import instances
from seg.data.coco import COCO
from seg.data.labelme import Labelme
from seg.doctor.findings import Finding, Place, counted
from seg.doctor.survey import Survey

_ALIKE = 0.86
_SHORTEST = 5  # of shorter names too many that differ in a letter mean two things: cat and car
_MANY = 300


def check(survey: Survey) -> Iterator[Finding]:
    """Find names in the class list, or among COCO's categories, that are probably one."""
    if isinstance(survey.data, Labelme):
        return  # whose labels are compared with each other, see `seg.doctor.labelme`
    names = survey.data.class_names
    if isinstance(survey.data, COCO):
        names = sorted(
            {*names, *(name for file in survey.data._instances.values() for name in file.categories.values())}
        )
    yield from nearly_equal(dict.fromkeys(names, ()), slips=False)


def nearly_equal(uses: Mapping[str, Sequence[Place]], slips: bool = True) -> Iterator[Finding]:
    """Find names that differ in case, blanks, plural or a number alone, or by a slip of the pen.

    Args:
        uses: name -> where it is used, a place a use; of two names the rarer one, more likely the slip, is shown.
        slips: compare spelling too; class lists that somebody thought about have legitimate neighbours.

    """
    places: list[Place] = []
    groups: list[set[str]] = []
    for one, other in combinations(sorted(uses)[:_MANY], 2):
        near = slips and (_ratio(one, other) >= _ALIKE or _swapped(one, other))
        if not near and _plain(one) != _plain(other):
            continue
        note = "; ".join(
            f"{name}: {counted(len(uses[name]), 'shape')}, such as in {os.path.basename(uses[name][0].where)}"
            for name in (one, other)
            if uses[name]
        )
        rare = min((other, one), key=lambda name: len(uses[name]))
        met = [group for group in groups if group & {one, other}]
        groups = [group for group in groups if group not in met] + [{one, other}.union(*met)]
        shown = uses[rare][0] if uses[rare] else Place("")
        places.append(shown._replace(where=f"{one} / {other}", note=note))
    if places:
        # all of a group lead to its most frequent name: an alias of an alias would lead nowhere
        often = {name: max(sorted(group), key=lambda one: len(uses[one])) for group in groups for name in sorted(group)}
        aliases = [f"{name}: {meant}" for name, meant in often.items() if name != meant]
        shorter = ", ".join(aliases[:5]) + (", …" if len(aliases) > 5 else "")
        yield Finding(
            "label names",
            "warn",
            f"{counted(len(places), 'pair')} of labels nearly equal, which probably mean one class",
            instances(list(uses))
            or f"if they do, give them one name: for labelme data aliases: {{{shorter}}}, for COCO data merge",
            places,
        )


def _swapped(one: str, other: str) -> bool:
    """Tell whether names of four letters or more differ by two neighbouring letters that changed places."""
    differ = [place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or len(one) < _SHORTEST - 1 or len(differ) != 2 or differ[1] != differ[0] + 1:
        return False
    return one[differ[0]] == other[differ[1]] and one[differ[1]] == other[differ[0]]


def _plain(name: str) -> str:
    """Return a name without case, separators, plural and a number at its end."""
    text = re.sub(r"[\W_]+", "", re.sub(r"[\s_\-#.]*\(?\d+\)?$", "", name) or name).casefold()
    return text[:-1] if len(text) > 3 and text.endswith("s") and not text.endswith("ss") else text


def _ratio(one: str, other: str) -> float:
    if min(len(one), len(other)) < _SHORTEST:
        return 0.0
    matcher = difflib.SequenceMatcher(None, one.casefold(), other.casefold(), autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= _ALIKE else 0.0
