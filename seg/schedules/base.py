"""What all schedules share: a warm-up, the progress of a run by steps or time, the torch scheduler that follows."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from torch.optim import Optimizer

from seg.schedules.following import Following


class Schedule(ABC):
    """Describe a learning rate over a run: a warm-up, then a decay to an end value.

    Args:
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.
        end: learning rate of the last optimiser step, as a share of the base rate.
        warmup_constant: share of the base rate that is held during the warm-up, instead of the linear rise.

    Raises:
        ValueError: a warm-up below 0, an end outside 0..1, a constant warm-up outside 0..1 or without length.

    """

    def __init__(self, warmup: float = 0.0, end: float = 0.0, warmup_constant: float | None = None) -> None:
        if not warmup >= 0:
            raise ValueError(f"schedule.warmup: {warmup} is negative; give a share of the run or a number of steps")
        if not 0 <= end <= 1:
            raise ValueError(f"schedule.end: {end} is not a share of the base learning rate; give 0 to 1")
        if warmup_constant is not None and not (0 < warmup_constant <= 1 and warmup):
            raise ValueError(
                f"schedule.warmup_constant: {warmup_constant} with a warmup of {warmup}; give a share of the base "
                "learning rate above 0, up to 1, and the length of the warm-up"
            )
        self.warmup, self.end, self.warmup_constant = warmup, end, warmup_constant

    @abstractmethod
    def decay(self, progress: float) -> float:
        """Return the share of the way from the end to the base rate, for a progress of 0 to 1 after the warm-up."""

    def factor(self, step: int, total: float, elapsed: float) -> float:
        """Return what the base learning rate is multiplied by.

        Args:
            step: optimiser steps already made.
            total: optimiser steps of the whole run, infinite where only time limits it.
            elapsed: share of the time limit that has passed, 0 where there is none.

        """
        progress = progress_of(step, total, elapsed)
        if (warming := self.warming(step, total, elapsed)) is not None and progress < 1:
            return warming
        start = self.warmup if self.warmup < 1 else min(1.0, self.warmup / max(1.0, total))
        after = min(1.0, max(0.0, progress - start) / (1 - start)) if start < 1 else 1.0
        return self.end + (1 - self.end) * self.decay(after)

    def warming(self, step: int, total: float, elapsed: float) -> float | None:
        """Return the factor of a step of the warm-up, None after it; arguments as for `factor`."""
        if not self.warmup:
            return None
        if self.warmup >= 1:
            rise = (step + 1) / self.warmup
        else:
            # never a rate of 0: the first of W warm-up steps has 1 / W
            by_steps = (step + 1) / max(1.0, self.warmup * total) if math.isfinite(total) else 0.0
            rise = max(by_steps, elapsed / self.warmup)
        if self.warmup_constant is not None:
            return self.warmup_constant if rise <= 1 else None
        return max(rise, 1e-3) if rise < 1 else None


def progress_of(step: int, total: float, elapsed: float) -> float:
    """Return how much of a run is behind a step, 0 to 1, by steps or time, whichever is further on."""
    # the last step of N is number N - 1, and it is there that the end value must be reached
    return min(1.0, max(step / max(1.0, total - 1), elapsed))


def scheduler(
    optimizer: Optimizer, schedule: Schedule, total: Callable[[], float], elapsed: Callable[[], float]
) -> Following:
    """Build the torch scheduler that follows a schedule; step it once per optimiser step.

    Args:
        optimizer: its learning rates are the base rates.
        schedule: shape of the curve.
        total: returns the optimiser steps of the whole run, infinite where only time limits it.
        elapsed: returns the share of the time limit that has passed.

    """
    return Following(optimizer, lambda step: schedule.factor(step, total(), elapsed()), total)
