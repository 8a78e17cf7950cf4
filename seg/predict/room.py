"""Memory shared by the images that are read, predicted and written at the same time."""

import math
from pathlib import Path
from threading import Condition


class Room:
    """Let in the next image only where those that are there, from reading to writing, hold less than a limit.

    So many small images are there at once, and of those that reach the limit on their own one.

    Args:
        most: bytes from which on nobody is let in.

    """

    def __init__(self, most: int) -> None:
        self.most: float = most
        self.held: dict[Path, int] = {}
        self.changed = Condition()

    def wait(self) -> None:
        """Wait until there is room; whoever reads, in a thread of its own, waits here."""
        with self.changed:
            self.changed.wait_for(lambda: sum(self.held.values()) < self.most)

    def take(self, image: Path, number: int) -> None:
        """Note that an image, and what is known of it, holds so many bytes now."""
        with self.changed:
            self.held[image] = number
            self.changed.notify_all()

    def leave(self, image: Path) -> None:
        """Note that nothing of an image is in memory any longer."""
        with self.changed:
            self.held.pop(image, None)
            self.changed.notify_all()

    def open(self) -> None:
        """Let everybody in from now on: after an interruption nobody may wait for what is never noted again."""
        with self.changed:
            self.most = math.inf
            self.changed.notify_all()
