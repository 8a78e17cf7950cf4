"""Which labelme files train and which validate: by folder, by lists, or by a seeded draw."""

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from seg.files import read_lines

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
_LIKE_A_SPLIT = re.compile(r"(train|val|test|training|valid|validation|testing)$", re.IGNORECASE)


def own_split(files: Sequence[Path], root: Path) -> dict[str, list[Path]] | None:
    """Return the files of each split as the data itself has it, in order, or None where it has no split.

    Folders `train` and `val` (and `test`) below the root decide, otherwise lists train.txt and val.txt (and test.txt)
    of file names, a name a line.

    Args:
        files: the annotation files, below `root`.
        root: folder of the data.

    Raises:
        ValueError: a list that names an unknown file.

    """
    if not has_own_split(root):
        if meant := sorted(path.name for path in root.iterdir() if path.is_dir() and _LIKE_A_SPLIT.match(path.name)):
            logger.warning(
                "%s: the folders %s are no split, and their files are divided anew; name them train and val (and test)",
                root,
                ", ".join(meant),
            )
        return None
    if (root / "train").is_dir() and (root / "val").is_dir():
        splits = {split: [path for path in files if path.is_relative_to(root / split)] for split in SPLITS}
        if outside := len(files) - sum(map(len, splits.values())):
            logger.warning("%s: %d annotations outside of train, val and test are left out", root, outside)
        return splits
    return {split: _listed(root / f"{split}.txt", files, root) for split in SPLITS}


def has_own_split(root: Path) -> bool:
    """Tell whether folders or lists say which files train and which validate."""
    folders, lists = ([root / f"{split}{suffix}" for split in SPLITS[:2]] for suffix in ("", ".txt"))
    return all(path.is_dir() for path in folders) or all(path.is_file() for path in lists)


def drawn_split(files: Sequence[Path], root: Path, val_fraction: float = 0.2, seed: int = 0) -> dict[str, list[Path]]:
    """Return the files of each split by a seeded draw; a single file trains.

    Every file has a rank that depends on its name and the seed alone, so that new files hardly move old ones.

    Args:
        files: the annotation files, below `root`.
        root: folder of the data.
        val_fraction: share of the files to validate on.
        seed: of the draw.

    Raises:
        ValueError: a fraction outside of 0 to 1.

    """
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction: {val_fraction} must lie between 0 and 1")
    number = min(max(round(len(files) * val_fraction), 1), max(len(files) - 1, 0))
    chosen = set(sorted(files, key=lambda path: _rank(path.relative_to(root), seed))[:number])
    return {"train": [p for p in files if p not in chosen], "val": [p for p in files if p in chosen], "test": []}


def _rank(path: Path, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{path.as_posix()}".encode()).digest()


def _listed(path: Path, files: Sequence[Path], root: Path) -> list[Path]:
    """Return the files that a list names by path below the root or by name, with or without suffix."""
    if not path.is_file():
        return []
    places: dict[str, Path] = {}
    for file in files:
        below = file.relative_to(root).with_suffix("")
        places.setdefault(below.name, file)
        places[below.as_posix()] = file
    found = []
    for line in read_lines(path):
        name = PurePosixPath(line.strip().replace("\\", "/"))
        if not name.parts:
            continue
        known = next((key for key in (str(name), str(name.with_suffix(""))) if key in places), None)
        if known is None:
            raise ValueError(f"{path} names '{line.strip()}', which no annotation below {root} has as its name")
        found.append(places[known])
    return found
