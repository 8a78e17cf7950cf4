"""What an earlier run has made and need not be made again."""

import json
import os
from collections.abc import Container
from pathlib import Path
from typing import Any

from seg.files import replacing

FILE = ".prediction.json"
"""In the output folder: with what settings each kind of output was made, which files of it are ours and what they were
made of, and which images a table has rows of."""


class Made:
    """Tell what is done: made with the same settings by the same checkpoint, of the image as it is.

    Args:
        out: the output folder.
        settings: kind of output -> what it depends on beside the image, of plain values.

    """

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.path = out / FILE
        held = self._read()
        self.kinds: dict[str, dict[str, Any]] = dict(held)
        self.settings = settings
        for kind, wanted in settings.items():
            known = json.loads(json.dumps(wanted))  # as it comes back
            if self.kinds.get(kind, {}).get("settings") != known:
                ours = {name: self.kinds.get(kind, {}).get(name) for name in ("begun", "files")}
                self.kinds[kind] = {"settings": known, "since": None, "rows": {}, **ours}
        self.listed = {
            kind: {_source(held): text for text, held in self.kinds[kind]["rows"].items()} for kind in settings
        }

    def start(self) -> None:
        """Note that what is written from now on is made with these settings."""
        with replacing(self.path) as temporary:
            temporary.touch()
            now = temporary.stat().st_mtime_ns  # by the clock that the files are stamped with
            for kind in self.settings:
                self.kinds[kind]["since"] = self.kinds[kind]["since"] or now
                self.kinds[kind]["begun"] = self.kinds[kind].get("begun") or now
            self._write(temporary)

    def close(self) -> None:
        """Write down which rows were made."""
        with replacing(self.path) as temporary:
            self._write(temporary)

    def is_done(self, kind: str, target: Path, image: Path) -> bool:
        """Tell whether a file is ours, newer than the settings, and made of this version of an image."""
        since, held = self.kinds[kind]["since"], self._held(kind, target)
        try:
            written = target.stat().st_mtime_ns
        except OSError:
            return False
        return (
            since is not None
            and written >= since
            and isinstance(held, list)
            and held[:2] == [_place(image), _modified(image)]
            and held[2:] != [written]  # still what was there before: the run that was to replace it was interrupted
        )

    def source(self, kind: str, target: Path) -> Path | None:
        """Return the image that a file was made of, or was to be, where that is known."""
        source = _source(self._held(kind, target))
        return None if source is None else Path(source)

    def wrote(self, kind: str, target: Path) -> bool:
        """Tell whether a run of whatever settings has written a file, as far as its name and time tell."""
        begun = self.kinds[kind].get("begun")
        return begun is not None and self._claimed(kind, target) and _modified(target) >= begun

    def masks(self) -> set[Path]:
        """Return the masks that are ours: where they lie among images, they could be taken for some."""
        names = self.kinds.get("masks", {}).get("files") or {}
        targets = [self.path.parent / name for name in names]
        return {target.resolve() for target in targets if self.wrote("masks", target)}

    def claim(self, kind: str, target: Path, image: Path | None = None) -> None:
        """Note that a file is to be written, of which version of an image, and ours from then on."""
        self.kinds[kind]["files"] = self.kinds[kind].get("files") or {}
        made_of = image and [_place(image), _modified(image), _modified(target)]
        self.kinds[kind]["files"][self._name(target)] = made_of or True

    def _claimed(self, kind: str, target: Path) -> bool:
        return self._held(kind, target) is not None

    def _held(self, kind: str, target: Path) -> Any:
        return (self.kinds.get(kind, {}).get("files") or {}).get(self._name(target))

    def _name(self, target: Path) -> str:
        return target.relative_to(self.path.parent).as_posix()

    def has_rows(self, kind: str, image: Path, table: Container[str]) -> bool:
        """Tell whether a table, of rows by image, holds those of this version of an image, by whatever path."""
        listed = self.listed[kind].get(_place(image))
        return listed in table and self.kinds[kind]["rows"].get(listed) == [_place(image), _modified(image)]

    def knows_rows(self, kind: str, image: str) -> bool:
        """Tell whether a table has rows of an image, as it is listed there, that were made with these settings."""
        return _source(self.kinds[kind]["rows"].get(image)) is not None

    def forget_rows(self, kind: str, image: Path) -> None:
        """Note that a table has no rows of an image that hold."""
        self.kinds[kind]["rows"].pop(self.listed[kind].pop(_place(image), None), None)

    def add_rows(self, kind: str, image: Path, modified: int) -> None:
        """Note of which version of an image, by its time of change, a table has rows."""
        self.forget_rows(kind, image)  # it may be there by another path
        self.listed[kind][_place(image)] = str(image)
        self.kinds[kind]["rows"][str(image)] = [_place(image), modified]

    def _read(self) -> dict[str, Any]:
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            return held if isinstance(held, dict) and all(map(_is_entry, held.values())) else {}
        except (OSError, ValueError, RecursionError):
            return {}

    def _write(self, path: Path) -> None:
        path.write_text(json.dumps(self.kinds), encoding="utf-8")


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths name one image: by the same name in the same folder, however that is reached."""
    return _place(one) == _place(other)


def _source(held: Any) -> str | None:
    """Return the image that an entry names; older ones name none."""
    return held[0] if isinstance(held, list) and held and isinstance(held[0], str) else None


def _place(image: Path) -> str:
    return os.path.join(os.path.realpath(image.parent), image.name)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not {"settings", "since"} <= entry.keys():
        return False
    return isinstance(entry.get("rows"), dict) and isinstance(entry.get("files") or {}, dict)
