"""Which images `seg predict` is given: files, folders, patterns, a list on standard input."""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".npy")
"""What counts as an image when a folder is given; a file that is named is tried whatever its suffix."""


def images_in(inputs: list[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (name without suffix, file) of the images that inputs stand for, those below `out` left out.

    Args:
        inputs: files; folders, searched with their subfolders, which names keep; patterns such as photos/**/*.jpg,
            whose names keep the folders that wildcards stand for; `-` for a list of files on standard input, one a
            line, whose names keep the folders below the one that all lie in.
        out: where predictions go.

    Raises:
        FileNotFoundError: a file or folder does not exist, or a pattern fits none.
        ValueError: the list on standard input is empty.

    """
    for given in inputs:
        if str(given) == "-":
            yield from _listed([line.rstrip("\r\n") for line in sys.stdin])
        elif given.is_dir():
            inside = out.resolve().is_relative_to(given.resolve()) and out.resolve() != given.resolve()
            for path in sorted(given.rglob("*")):
                written = inside and path.resolve().is_relative_to(out.resolve())
                if path.suffix.lower() in SUFFIXES and path.is_file() and not written:
                    yield path.relative_to(given).with_suffix(""), path
        elif given.exists():
            yield Path(given.stem), given
        elif glob.has_magic(str(given)):
            yield from _matching(given, out)
        else:
            raise FileNotFoundError(f"{given}: there is no such image or folder")


def _matching(pattern: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files that a pattern fits, named from where its wildcards begin."""
    fixed = Path(*_before_wildcards(pattern.parts))
    below = out.resolve()
    found = [Path(path) for path in sorted(glob.glob(str(pattern), recursive=True))]
    found = [path for path in found if path.is_file() and not path.resolve().is_relative_to(below)]
    if not found:
        raise FileNotFoundError(f"{pattern}: no file fits this pattern")
    yield from ((path.relative_to(fixed).with_suffix(""), path) for path in found)


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
    common = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    yield from ((path.absolute().relative_to(common).with_suffix(""), path) for path in paths)
