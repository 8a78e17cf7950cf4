"""Spikes of the training loss, told from its usual scatter."""

from collections import deque
from statistics import median

WINDOW, LEAST = 50, 20
"""Losses that a new one is compared with at most, and at least."""
DEVIATIONS, SHARE = 8.0, 0.5
"""How far above the median a spike is: in standard deviations of the scatter, and in parts of the median."""


class Spikes:
    """Compare each loss with the ones before it.

    Lightning's SpikeDetection would end the run, waits for the device several times a step and cannot be restored from
    a checkpoint. The scatter is 1.4826 times the median absolute deviation, the standard deviation of normal
    scatter (Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", 1993), which a spike hardly moves.
    """

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=WINDOW)
        self.above = False

    def observe(self, loss: float) -> float | None:
        """Take a step's loss; return the median of those before it if this one is the first of a spike."""
        usual, was_above = self.usual(), self.above
        self.above = usual is not None and loss - usual[0] > max(DEVIATIONS * usual[1], SHARE * abs(usual[0]))
        self.losses.append(loss)
        return usual[0] if usual is not None and self.above and not was_above else None

    def usual(self) -> tuple[float, float] | None:
        """Return median and scatter of the losses, None while there are too few."""
        if len(self.losses) < LEAST:
            return None
        middle = median(self.losses)
        return middle, 1.4826 * median(abs(loss - middle) for loss in self.losses)
