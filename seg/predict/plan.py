"""What is to be made of which image, and what is done: settled before the first image is read."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seg.predict.inputs import SUFFIXES, images_in
from seg.predict.kinds import KINDS, folder_of, target_of
from seg.predict.report import Report
from seg.predict.state import Made, is_same


class Job(NamedTuple):
    """An image, the files to be made of it by kind, the tables it is missing in, and when the image was changed."""

    path: Path
    files: dict[str, Path]
    tables: list[str]
    modified: int


def outputs_of(inputs: list[Path], out: Path, save: Sequence[str] = ("masks", "overlays")) -> dict[Path, Path]:
    """Return output name -> image file; whatever would overwrite something is refused before anything is written."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: this is a file; give a folder")
    names: dict[Path, Path] = {}
    images: dict[Path, Path] = {}  # target -> the image that it is made of
    for name, path in images_in(inputs, out):
        assert (out / name).is_relative_to(out)
        assert ".." not in name.parent.parts  # nothing is ever written outside `out`
        if (same := names.setdefault(name, path)) != path:
            raise ValueError(_twice(same, path, out / name))
        for target in (target_of(kind, name, out, path) for kind in save if kind in KINDS):
            if (other := images.setdefault(target, path)) != path:
                raise ValueError(_twice(other, path, target))
    if not names:
        raise FileNotFoundError(
            f"no image in {', '.join(map(str, inputs))}; looked for files ending in {', '.join(SUFFIXES)}, "
            "earlier predictions left out"
        )
    pictures = {path.resolve() for path in names.values()}
    for target in images:
        if target.resolve() in pictures:
            raise ValueError(f"--out {out}: {target} would replace an input image; give another folder")
    return names


def _twice(one: Path, other: Path, target: Path) -> str:
    return (
        f"{one} and {other} would both be written as {target}; "
        "name the files that you mean, or predict them into two --out folders"
    )


def jobs_of(
    names: dict[Path, Path], out: Path, save: Sequence[str], made: Made, overwrite: bool, report: Report
) -> Iterator[Job]:
    """Yield what is left to do, and note what is not; rows that are to be made again are forgotten.

    Raises:
        ValueError: a file is where one is to be written, and is no output of `seg predict`, or, unless it is to be
            overwritten, is that of another image.

    """
    from seg.predict.annotations import image_of, made_by_hand

    for kind in report.rows:
        _claim(kind, out / f"{kind}.csv", made)
    for name, path in names.items():
        files = {kind: target_of(kind, name, out, path) for kind in KINDS if kind in save}
        annotation = target_of("labelme", name, out, path)
        replaced = overwrite and "labelme" in save
        named = image_of(annotation) if {"labelme", "ranking"} & set(save) else None
        if not overwrite:
            for kind, target in files.items():
                _refuse_other(target, path, named if kind == "labelme" else made.source(kind, target))
        its_own = named is None or is_same(named, path)
        by_hand = bool({"labelme", "ranking"} & set(save)) and not replaced and its_own and made_by_hand(annotation)
        if by_hand and "labelme" in files:
            report.by_hand.append(files.pop("labelme"))
        if not overwrite:
            files = {kind: target for kind, target in files.items() if not made.is_done(kind, target, path)}
        for kind, target in files.items():
            _claim(kind, target, made, path)
        if by_hand and "ranking" in report.rows:  # which is for images that are left to annotate
            report.annotated.append(path)
            made.forget_rows("ranking", path)
        tables = [
            kind
            for kind, rows in report.rows.items()
            if overwrite or not made.has_rows(kind, path, rows)
            if kind != "ranking" or not by_hand
        ]
        for kind in tables:
            made.forget_rows(kind, path)
        if files or tables:
            modified = path.stat().st_mtime_ns if path.exists() else 0
            yield Job(path, files, tables, modified)
        else:
            report.done.append(path)


def _refuse_other(target: Path, path: Path, source: Path | None) -> None:
    """Refuse to take a file for an image's, or to replace it, that was made of another one which is still there."""
    if source and not is_same(source, path) and source.is_file() and target.is_file():
        raise ValueError(
            f"{target} was made of {source}, not of {path}; give another --out folder, or --overwrite to replace it"
        )


def _claim(kind: str, target: Path, made: Made, image: Path | None = None) -> None:
    """Note that a file is to be written, unless another of this name is there."""
    tells_itself = kind == "labelme"  # see `made_by_hand`
    if not tells_itself and target.is_file() and not made.wrote(kind, target):
        raise ValueError(
            f"{target} is there, and seg predict has not written it; give another --out folder, or move the file away"
        )
    made.claim(kind, target, image)


def labels_folder(names: dict[Path, Path], out: Path) -> Path:
    """Return the folder below which labelme files lie, which labels.txt belongs to."""
    beside = any(target_of("labelme", name, out, path) == out / f"{name}.json" for name, path in names.items())
    return out if beside else folder_of("labelme", out)
