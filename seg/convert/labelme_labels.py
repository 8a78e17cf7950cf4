"""The class list of labelme data: read from labels.txt, given, or found in the data and written down for ever after."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from seg.convert.labelme_file import plain
from seg.data.classes import IGNORE, Classes
from seg.files import read_lines, replacing

IGNORE_LABEL, BACKGROUND_LABEL = "__ignore__", "_background_"
"""labelme's names of pixels that do not count, and of pixels that nothing covers."""

FOUND_FILE = "labels.found.txt"
"""The list that is written beside data which came without one; it only ever grows, so that no class changes its id."""

_NUMBER = re.compile(r"[\s_\-#.]*\(?\d+\)?$")
_SHOWN = 5
_LISTED = 20


def read_labels(path: Path) -> list[str]:
    """Read a labels.txt: a name a line, the background first.

    A byte order mark, CRLF, blanks and `__ignore__` do not matter.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not UTF-8, or names that cannot be a class list.

    """
    if not path.is_file():
        raise FileNotFoundError(f"labels: there is no file {path}; it names a class a line, _background_ first")
    lines = read_lines(path)
    try:
        return class_list([name for line in lines if (name := plain(line))])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def class_list(names: Iterable[str]) -> list[str]:
    """Return class names as they are numbered: background first (added where it is not named), `__ignore__` left out.

    Raises:
        ValueError: the background is not first, a name appears twice, or there are no or too many classes.

    """
    listed = [name for name in map(plain, names) if name != IGNORE_LABEL]
    if not _starts_with_background(listed):
        if BACKGROUND_LABEL in listed:
            raise ValueError(f"classes: {BACKGROUND_LABEL} must come first, it is class 0")
        listed.insert(0, BACKGROUND_LABEL)
    return list(Classes(listed).names)


def label_values(names: Sequence[str], aliases: Mapping[str, str] | None = None) -> dict[str, int]:
    """Return the value of the pixels of each label.

    Args:
        names: the class list, background first.
        aliases: label -> the label that it stands for.

    Raises:
        ValueError: an alias leads to a label that is not known.

    """
    values = {name: value for value, name in enumerate(names)} | {IGNORE_LABEL: IGNORE, BACKGROUND_LABEL: 0}
    known = dict(values)
    for label, meant in (aliases or {}).items():
        if plain(meant) not in known:
            raise ValueError(
                f"aliases: {label}: {meant} leads to no class; there are {', '.join(known)}{_hint(plain(meant), known)}"
            )
        values[plain(label)] = known[plain(meant)]
    return values


def found_classes(root: Path, labels: Collection[str]) -> list[str]:
    """Return the class list of data that has none: what was written down, then new labels in alphabetical order.

    Args:
        root: folder of the data.
        labels: those that are used, aliases resolved.

    Raises:
        ValueError: fewer than one or more than 254 labels.

    """
    path = root / FOUND_FILE
    names = read_labels(path) if path.is_file() else [BACKGROUND_LABEL]
    new = sorted(set(labels) - set(names) - {IGNORE_LABEL, BACKGROUND_LABEL})
    if len(names) + len(new) < 2:
        raise ValueError(f"there is no label in {root} to learn from: all its shapes are background or ignored")
    if len(names) + len(new) > IGNORE:
        raise ValueError(
            f"{root} has {len(new)} labels ({', '.join(new[:_SHOWN])}, …), more than a mask can tell apart. "
            f"{instances(new) or 'Name the classes in a labels.txt'}"
        )
    return names + new


def write_found(root: Path, names: Sequence[str]) -> None:
    """Write down the class list that `found_classes` returned, where it is not there already."""
    path = root / FOUND_FILE
    text = "".join(f"{name}\n" for name in [IGNORE_LABEL, *names])
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode())


def refuse_unknown(uses: Mapping[str, Sequence[Path]], values: Mapping[str, int]) -> None:
    """Refuse labels that the class list does not have.

    Args:
        uses: label -> the file of each shape that has it.
        values: label -> value, of all labels known.

    Raises:
        ValueError: naming each label, how often and where it is used, and what was probably meant.

    """
    unknown = sorted(set(uses) - set(values))
    if not unknown:
        return
    lines = []
    for label in unknown:
        files = list(dict.fromkeys(str(path) for path in uses[label]))
        shown = ", ".join(files[:_SHOWN]) + (", …" if len(files) > _SHOWN else "")
        lines.append(f"{label!r}: {len(uses[label])} shapes in {len(files)} files ({shown}){_hint(label, values)}")
    known = ", ".join(name for name in values if name not in (IGNORE_LABEL, BACKGROUND_LABEL))
    meant = [(label, other) for label in unknown if (other := _nearest(label, values))]
    advice = f"Correct them in labelme, add them to the list, or say what they mean: {_aliases(meant)}"
    advice = instances(unknown, values) or advice
    raise ValueError(
        f"{len(unknown)} labels are not in the class list ({known}):\n  " + "\n  ".join(lines) + f"\n{advice}"
    )


def instances(labels: Collection[str], known: Collection[str] = ()) -> str:
    """Return the aliases that labels numbered by instance (rat1, rat2) need, as advice; nothing for other labels."""
    stems: dict[str, list[str]] = {}
    for label in sorted(labels):
        stem = _NUMBER.sub("", label)
        if stem and stem != label:
            stems.setdefault(stem, []).append(label)
    pairs = [(label, stem) for stem, group in stems.items() if len(group) > 1 or stem in known for label in group]
    return f"If these number the objects of a class, say so: {_aliases(pairs)}" if pairs else ""


def twins(labels: Mapping[str, int]) -> str:
    """Return the aliases that labels differing in case alone need, as advice, each to the one that is used most."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels, key=lambda label: (-labels[label], label)):
        groups.setdefault(label.casefold(), []).append(label)
    pairs = [(label, group[0]) for group in groups.values() for label in group[1:]]
    return f"If some mean one class, say so, and delete {FOUND_FILE}: {_aliases(pairs)}" if pairs else ""


def _aliases(pairs: Sequence[tuple[str, str]]) -> str:
    """Return how to say that labels mean others, in a config and on the command line that converts."""
    if not pairs:
        return "aliases"
    shown = ", ".join(f"{label}: {other}" for label, other in pairs[:_LISTED]) + (", …" if pairs[_LISTED:] else "")
    return f"aliases: {{{shown}}}; in seg convert --alias '{pairs[0][0]}={pairs[0][1]}' and so on"


def _starts_with_background(names: Sequence[str]) -> bool:
    return bool(names) and names[0].strip("_").casefold() == "background"


def _hint(label: str, known: Collection[str]) -> str:
    near = _nearest(label, known)
    return f"; did you mean {near!r}?" if near else ""


def _nearest(label: str, known: Collection[str]) -> str:
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(label.casefold(), folded, n=1)
    return folded[near[0]] if near else ""
