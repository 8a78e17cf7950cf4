"""An image of any kind as it can be looked at, some rows at a time: no picture of a large one is there as a whole."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from seg.infer import Network

PIXELS = 1 << 20
"""Pixels of large images that are drawn and counted at a time."""


def bands(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of an image of this size, from top to bottom, in bands of `PIXELS` pixels."""
    rows = max(1, PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


class Visible:
    """Show an image: 8-bit ones as they are, all others normalised, and stretched from their least value to the most.

    Args:
        image: (H, W, N) as read.
        network: says what normalises it.

    """

    def __init__(self, image: np.ndarray, network: "Network") -> None:
        self.image, self.network = image, network
        self.limits: tuple[float, float] | None = None

    def rows(self, rows: slice) -> np.ndarray:
        """Return some rows, uint8 (h, W, 3)."""
        from seg import draw

        if self.image.dtype == np.uint8:
            return draw.rgb(self.image[rows])
        if self.limits is None:
            self.limits = self._limits()
        return draw.rgb(self._normalised(rows), self.limits)

    def _limits(self) -> tuple[float, float]:
        """Return the least and the largest finite value of the whole image."""
        low, high = math.inf, -math.inf
        for rows in bands(*self.image.shape[:2]):
            values = self._normalised(rows)
            finite = values[np.isfinite(values)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        return (low, high) if low <= high else (0.0, 1.0)

    def _normalised(self, rows: slice) -> np.ndarray:
        """Return the bands that are shown of some rows, float32 (h, W, 1 or 3), as the network sees them."""
        number = min(3, self.image.shape[2]) if self.image.shape[2] != 2 else 1
        mean, std = (np.asarray(values[:number], np.float32) for values in (self.network.mean, self.network.std))
        shown = self.image[rows, :, :number].astype(np.float32)
        if self.network.clip:
            lowest, highest = np.asarray(self.network.clip[:number], np.float32).T
            np.clip(shown, lowest, highest, out=shown)
        shown -= mean
        shown /= std
        return shown
