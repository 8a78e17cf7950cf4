"""Which images `seg predict` is given: files, folders, patterns, a list on standard input."""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from seg.predict.kinds import KINDS, folder_of

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".npy")
"""What counts as an image when a folder is given; a file that is named is tried whatever its suffix."""


def images_in(inputs: list[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (name without suffix, file) of the images that inputs stand for, earlier predictions left out.

    Folders and patterns leave out what lies in `out`, where that is a folder below their own; where it is their own
    folder or one above, what lies in the folders that kinds of output have there. Names never lead out of `out`.

    Args:
        inputs: files; folders, searched with their subfolders, which names keep; patterns such as photos/**/*.jpg,
            whose names keep the folders that wildcards stand for; `-` for a list of files on standard input, one a
            line, whose names keep the folders below the one that all lie in.
        out: where predictions go.

    Raises:
        FileNotFoundError: a file or folder does not exist, or a pattern fits none.
        ValueError: the list on standard input is empty, or a pattern leads above the folder its wildcards begin in.

    """
    for given in inputs:
        if str(given) == "-":
            yield from _listed([line.rstrip("\r\n") for line in sys.stdin])
        elif given.is_dir():
            predictions = _predictions(given, out)
            for path in sorted(given.rglob("*")):
                if path.suffix.lower() in SUFFIXES and path.is_file() and not _below(path, predictions):
                    yield path.relative_to(given).with_suffix(""), path
        elif given.exists():
            yield Path(given.stem), given
        elif glob.has_magic(str(given)):
            yield from _matching(given, out)
        else:
            raise FileNotFoundError(f"{given}: there is no such image or folder")


def _predictions(root: Path, out: Path) -> list[Path]:
    """Return the folders below an input's root that hold predictions which could be taken for images."""
    kinds = [kind for kind in KINDS if kind != "masks" and KINDS[kind].suffix in SUFFIXES]
    folders = [folder.resolve() for folder in (out, *(folder_of(kind, out) for kind in kinds))]
    return [folder for folder in folders if root.resolve() in folder.parents]


def _below(path: Path, folders: list[Path]) -> bool:
    place = path.resolve() if folders else path
    return any(place.is_relative_to(folder) for folder in folders)


def _matching(pattern: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files that a pattern fits, named from where its wildcards begin."""
    fixed = Path(*_before_wildcards(pattern.parts))
    predictions = _predictions(fixed, out)
    fitting = [path for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))) if path.is_file()]
    found = [path for path in fitting if not _below(path, predictions)]
    if not found:
        raise FileNotFoundError(
            f"{pattern}: no file fits this pattern" + (f" but predictions of --out {out}" if fitting else "")
        )
    for path in found:
        name = Path(os.path.relpath(path, fixed))
        if ".." in name.parent.parts:
            raise ValueError(
                f"{pattern}: .. behind a wildcard leads out of {fixed}; write it in front of the wildcards"
            )
        yield name.with_suffix(""), path


def _before_wildcards(parts: tuple[str, ...]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _listed(lines: list[str]) -> Iterator[tuple[Path, Path]]:
    """Yield the files of a list; those that are not there fail later, one by one."""
    paths = [Path(line) for line in lines if line.strip()]
    if not paths:
        raise ValueError("-: the list on standard input is empty; give a file a line")
    absolute = [Path(os.path.abspath(path)) for path in paths]  # Path.absolute would leave .. in, and in the names
    common = Path(os.path.commonpath([path.parent for path in absolute]))
    for path, place in zip(paths, absolute, strict=True):
        yield place.relative_to(common).with_suffix(""), path
