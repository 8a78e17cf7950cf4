"""Which images `seg predict` is given: files, folders, patterns, a list on standard input; what else a file holds."""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from seg.convert.tree import files_below
from seg.predict.kinds import KINDS, folder_of
from seg.predict.state import Made

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".npy")
"""What counts as an image when a folder is given; a file that is named is tried whatever its suffix."""


def images_in(inputs: list[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (name without suffix, file) of the images that inputs stand for, earlier predictions left out.

    Folders and patterns leave out what lies in `out`, where that is a folder below their own; where it is their own
    folder or one above, the masks of earlier runs, and what lies in the folders that other kinds of output have there;
    and so with what earlier runs have written to their own folder. Names never lead out of `out`.

    Args:
        inputs: files; folders, searched with their subfolders, which names keep, hidden ones aside; patterns such
            as photos/**/*.jpg, whose names keep the folders that wildcards stand for; `-` for a list of files on
            standard input, one a line, whose names keep the folders below the one that all lie in.
        out: where predictions go.

    Raises:
        FileNotFoundError: a file or folder does not exist, or a pattern fits none.
        ValueError: the list on standard input is empty, or a pattern leads above the folder its wildcards begin in.

    """
    for given in inputs:
        if str(given) == "-":
            yield from _listed([line.rstrip("\r\n") for line in sys.stdin])
        elif given.is_dir():
            predictions = _Predictions(given, out)
            for path in files_below(given, SUFFIXES):
                if path not in predictions:
                    yield path.relative_to(given).with_suffix(""), path
        elif given.exists():
            yield Path(given.stem), given
        elif glob.has_magic(str(given)):
            yield from _matching(given, out)
        else:
            raise FileNotFoundError(f"{given}: there is no such image or folder")


class _Predictions:
    """What lies below an input's root and could be taken for images: folders of predictions, and masks."""

    def __init__(self, root: Path, out: Path) -> None:
        kinds = [kind for kind in KINDS if kind != "masks" and KINDS[kind].suffix in SUFFIXES]
        earlier = Made(root, {})
        folders = [out, *(folder_of(kind, out) for kind in kinds)]
        folders += [folder_of(kind, root) for kind in kinds if kind in earlier.kinds]
        self.folders = [place for place in (folder.resolve() for folder in folders) if root.resolve() in place.parents]
        self.masks = Made(out, {}).masks() | earlier.masks()

    def __contains__(self, path: Path) -> bool:
        if not self.folders and not self.masks:
            return False
        place = path.resolve()
        return place in self.masks or any(place.is_relative_to(folder) for folder in self.folders)


def _matching(pattern: Path, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files that a pattern fits, named from where its wildcards begin."""
    fixed = Path(*_before_wildcards(pattern.parts))
    predictions = _Predictions(fixed, out)
    fitting = [path for path in map(Path, sorted(glob.glob(str(pattern), recursive=True))) if path.is_file()]
    found = [path for path in fitting if path not in predictions]
    if not found:
        raise FileNotFoundError(
            f"{pattern}: no file fits this pattern" + (" but earlier predictions" if fitting else "")
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


def remark(path: Path, channels: str = "rgb") -> str | None:
    """Return what a user should know of an image that was read all the same, with these channels."""
    if path.suffix.lower() in (".tif", ".tiff"):
        from seg.data.tiff import count_pages

        pages, bands = count_pages(path)
        left = pages > (1 if channels == "rgb" else bands)
        return f"{path} has {pages} pages; the first picture was predicted" if left else None
    if path.suffix.lower() not in (".gif", ".webp", ".png", ".apng"):
        return None
    from PIL import Image

    with Image.open(path) as picture:
        frames = getattr(picture, "n_frames", 1)
    return f"{path} is animated; the first of its {frames} pictures was predicted" if frames > 1 else None
