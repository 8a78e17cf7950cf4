"""Finding files below a folder, and the names that they may be written by."""

import os
from collections.abc import Iterable
from pathlib import Path


def files_below(folder: str | Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files of some suffixes in a folder and all below it, sorted; what begins with a dot is hidden.

    Links are followed, but no folder is entered twice, so that links in a circle end.

    Args:
        folder: where to look.
        suffixes: with the dot, in small letters; files may have them in capitals.

    Raises:
        FileNotFoundError: there is no such folder.

    """
    folder, endings = Path(folder), tuple(suffixes)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found: list[Path] = []
    folders, links, entered = [str(folder)], list[str](), set[str]()
    while folders or links:
        place = folders.pop() if folders else links.pop(0)  # a folder's own place comes before links to it
        if (real := os.path.realpath(place)) in entered:
            continue
        entered.add(real)
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (links if entry.is_symlink() else folders).append(entry.path)
                elif entry.is_file() and entry.name.lower().endswith(endings):
                    found.append(Path(entry.path))
    return sorted(found)
