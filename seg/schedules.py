"""Learning-rate schedules per optimiser step: warm-up, then poly or cosine, over the steps or the time of the run."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class Schedule(ABC):
    """Describe a learning rate over a run: a linear rise, then a decay to an end value.

    Args:
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.
        end: learning rate of the last optimiser step, as a share of the base rate.

    Raises:
        ValueError: a warm-up below 0, an end outside 0..1.

    """

    def __init__(self, warmup: float = 0.0, end: float = 0.0) -> None:
        if warmup < 0:
            raise ValueError(f"schedule.warmup: {warmup} is negative; give a share of the run or a number of steps")
        if not 0 <= end <= 1:
            raise ValueError(f"schedule.end: {end} is not a share of the base learning rate; give 0 to 1")
        self.warmup, self.end = warmup, end

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
        # the last step of N is number N - 1, and it is there that the end value must be reached
        progress = min(1.0, max(step / max(1.0, total - 1), elapsed))
        if self.warmup < 1:
            start, rise = self.warmup, progress / self.warmup if self.warmup else 1.0
            if math.isfinite(total) and self.warmup:
                # never a rate of 0: the first of W warm-up steps has 1 / W
                rise = (step + 1) / max(1.0, self.warmup * total)
        else:
            start, rise = min(1.0, self.warmup / max(1.0, total)), (step + 1) / self.warmup
        if rise < 1:
            return max(rise, 1e-3)
        after = min(1.0, max(0.0, progress - start) / (1 - start)) if start < 1 else 1.0
        return self.end + (1 - self.end) * self.decay(after)


class Constant(Schedule):
    """Hold the learning rate after the warm-up.

    Args:
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.

    """

    def __init__(self, warmup: float = 0.0) -> None:
        super().__init__(warmup)

    def decay(self, progress: float) -> float:
        """Return 1."""
        return 1.0


class Poly(Schedule):
    """Decay the learning rate as (1 − progress)^power.

    Args:
        power: exponent; 0.9 in DeepLab (Chen et al. 2017, section 4.1).
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.
        end: learning rate of the last optimiser step, as a share of the base rate.

    """

    def __init__(self, power: float = 0.9, warmup: float = 0.0, end: float = 0.0) -> None:
        super().__init__(warmup, end)
        self.power = power

    def decay(self, progress: float) -> float:
        """Return (1 − progress)^power."""
        return float((1 - progress) ** self.power)


class Cosine(Schedule):
    """Decay the learning rate along half a cosine.

    Args:
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.
        end: learning rate of the last optimiser step, as a share of the base rate.

    Source: Loshchilov and Hutter 2017, without restarts.

    """

    def decay(self, progress: float) -> float:
        """Return the half cosine from 1 to 0."""
        return 0.5 * (1 + math.cos(math.pi * progress))


def scheduler(optimizer: Optimizer, schedule: Schedule, total: float, elapsed: Callable[[], float]) -> LambdaLR:
    """Build the torch scheduler that follows a schedule; step it once per optimiser step.

    Args:
        optimizer: its learning rates are the base rates.
        schedule: shape of the curve.
        total: optimiser steps of the whole run, infinite where only time limits it.
        elapsed: returns the share of the time limit that has passed.

    """
    return LambdaLR(optimizer, lambda step: schedule.factor(step, total, elapsed()))
