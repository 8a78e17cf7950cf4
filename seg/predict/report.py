"""What became of the images, and how it is told."""

import os
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from seg.predict.tables import Row

EXPECTED = (ValueError, OSError, RuntimeError)
"""Errors whose text is enough; of all others the kind is told too."""


@dataclass
class Report:
    """What became of the images."""

    done: list[Path] = field(default_factory=list)
    by_hand: list[Path] = field(default_factory=list)
    annotated: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    rows: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    """Of each table, by image: those that an earlier run wrote, and over them those of this one."""

    def fail(self, path: Path, error: Exception) -> None:
        """Note what went wrong with an image; SEG_TRACEBACK=1 shows where."""
        if os.environ.get("SEG_TRACEBACK"):
            traceback.print_exception(error)
        text, kind = str(error), type(error).__name__
        if not isinstance(error, EXPECTED) or not text:
            text = f"{kind}: {text}" if text else kind
        self.failed[path] = text if str(path) in text else f"{path}: {text}"

    def tell(self, number: int, places: list[str]) -> None:
        """Print what became of the images."""
        done = f", {len(self.done)} of them before" if self.done else ""
        print(f"{number - len(self.failed)} of {number} images predicted{done}: {', '.join(places)}")
        if self.by_hand:
            print(
                f"{len(self.by_hand)} labelme files were made or corrected by hand, and stay "
                f"({self.by_hand[0]}{', …' if len(self.by_hand) > 1 else ''}); --overwrite replaces them"
            )
        if self.annotated:
            print(f"{len(self.annotated)} images are annotated by hand, and left out of the ranking")
        for note in self.notes:
            print(f"note: {note}")
        for line in self.failed.values():
            print(f"failed: {line}", file=sys.stderr)
