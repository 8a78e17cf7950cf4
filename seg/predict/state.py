"""What an earlier run has made and need not be made again."""

import json
from pathlib import Path
from typing import Any

from seg.files import replacing

FILE = ".prediction.json"
"""In the output folder: with what settings each kind of output was made, which files of it are ours, and which images a
table has rows of."""


class Made:
    """Tell what is done: made with the same settings by the same checkpoint, after the image was last changed.

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
        """Tell whether a file is ours and newer than its image and the settings."""
        since = self.kinds[kind]["since"]
        try:
            return (
                since is not None
                and self._claimed(kind, target)
                and target.stat().st_mtime_ns >= max(since, image.stat().st_mtime_ns)
            )
        except OSError:
            return False

    def wrote(self, kind: str, target: Path) -> bool:
        """Tell whether a run of whatever settings has written a file, as far as its name and time tell."""
        begun = self.kinds[kind].get("begun")
        return begun is not None and self._claimed(kind, target) and target.stat().st_mtime_ns >= begun

    def claim(self, kind: str, target: Path) -> None:
        """Note that a file is to be written, and ours from then on."""
        self.kinds[kind]["files"] = self.kinds[kind].get("files") or {}
        self.kinds[kind]["files"][self._name(target)] = True

    def _claimed(self, kind: str, target: Path) -> bool:
        return self._name(target) in (self.kinds[kind].get("files") or {})

    def _name(self, target: Path) -> str:
        return target.relative_to(self.path.parent).as_posix()

    def has_rows(self, kind: str, image: Path) -> bool:
        """Tell whether a table's rows are those of this version of an image."""
        try:
            return bool(self.kinds[kind]["rows"].get(str(image)) == image.stat().st_mtime_ns)
        except OSError:
            return False

    def knows_rows(self, kind: str, image: str) -> bool:
        """Tell whether a table has rows of an image that were made with these settings."""
        return image in self.kinds[kind]["rows"]

    def forget_rows(self, kind: str, image: Path) -> None:
        """Note that a table has no rows of an image that hold."""
        self.kinds[kind]["rows"].pop(str(image), None)

    def add_rows(self, kind: str, image: Path, modified: int) -> None:
        """Note of which version of an image, by its time of change, a table has rows."""
        self.kinds[kind]["rows"][str(image)] = modified

    def _read(self) -> dict[str, Any]:
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
            return held if isinstance(held, dict) and all(map(_is_entry, held.values())) else {}
        except (OSError, ValueError, RecursionError):
            return {}

    def _write(self, path: Path) -> None:
        path.write_text(json.dumps(self.kinds), encoding="utf-8")


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("rows"), dict) and {"settings", "since"} <= entry.keys()
