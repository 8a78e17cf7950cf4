"""Curves of the learning rate over a run, which reach their end value at the last optimiser step."""

import math
from typing import Any

from seg.schedules.base import Schedule, progress_of


class Constant(Schedule):
    """Hold the learning rate after the warm-up.

    Args:
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.
        warmup_constant: share of the base rate that is held during the warm-up, instead of the linear rise.

    """

    def __init__(self, warmup: float = 0.0, warmup_constant: float | None = None) -> None:
        super().__init__(warmup, 1.0, warmup_constant)

    def decay(self, progress: float) -> float:
        """Return 1."""
        return 1.0


class Poly(Schedule):
    """Decay the learning rate as (1 − progress)^power.

    Args:
        power: exponent; 0.9 in DeepLab (Chen et al. 2017, section 4.1).
        **common: the warm-up and the end, see `Schedule`.

    """

    def __init__(self, power: float = 0.9, **common: Any) -> None:
        super().__init__(**common)
        self.power = power

    def decay(self, progress: float) -> float:
        """Return (1 − progress)^power."""
        return float((1 - progress) ** self.power)


class Cosine(Schedule):
    """Decay the learning rate along half a cosine.

    Source: Loshchilov and Hutter 2017, without restarts.
    """

    def decay(self, progress: float) -> float:
        """Return the half cosine from 1 to 0."""
        return 0.5 * (1 + math.cos(math.pi * progress))


class _ToAboveZero(Schedule):
    """What the curves share that never reach 0: an end above it."""

    def __init__(self, end: float = 0.01, **common: Any) -> None:
        super().__init__(end=end, **common)
        if not 0 < end < 1:
            raise ValueError(
                f"schedule.end: {end}, but a curve of {type(self).__name__} ends above 0 and below 1, such as 0.01"
            )


class Exponential(_ToAboveZero):
    """Multiply the learning rate by the same factor at every step, so that it ends at its end value.

    Args:
        end: learning rate of the last optimiser step, as a share of the base rate, above 0.
        **common: the warm-up, see `Schedule`.

    """

    def decay(self, progress: float) -> float:
        """Return the share at which the rate is end^progress."""
        return float((self.end**progress - self.end) / (1 - self.end))


class InverseTime(_ToAboveZero):
    """Decay the learning rate as 1 / (1 + k · progress), with the k that leads to the end value.

    Args:
        end: learning rate of the last optimiser step, as a share of the base rate, above 0.
        **common: the warm-up, see `Schedule`.

    """

    def decay(self, progress: float) -> float:
        """Return the share at which the rate is 1 / (1 + (1 / end − 1) · progress)."""
        return self.end * (1 - progress) / (self.end + (1 - self.end) * progress)


class Step(Schedule):
    """Multiply the learning rate by a factor at every milestone.

    Args:
        milestones: shares of the run (below 1) or numbers of optimiser steps (1 and more).
        gamma: the factor.
        warmup: share of the run (below 1) or number of optimiser steps (1 and more) over which the rate rises linearly.
        warmup_constant: share of the base rate that is held during the warm-up, instead of the linear rise.

    Raises:
        ValueError: no milestones or negative ones, a factor outside 0..1.

    """

    def __init__(
        self,
        milestones: list[float] = [0.6, 0.8],  # noqa: B006 (a list is what a checkpoint holds)
        gamma: float = 0.1,
        warmup: float = 0.0,
        warmup_constant: float | None = None,
    ) -> None:
        super().__init__(warmup, 0.0, warmup_constant)
        if not milestones or not all(milestone > 0 for milestone in milestones):
            raise ValueError(
                f"schedule.milestones: {milestones}, but shares of the run or numbers of steps are expected, "
                "such as [0.6, 0.8]"
            )
        if not 0 < gamma <= 1:
            raise ValueError(f"schedule.gamma: {gamma}, but a factor above 0, up to 1, is expected, such as 0.1")
        self.milestones, self.gamma = list(milestones), gamma

    def factor(self, step: int, total: float, elapsed: float) -> float:
        """Return gamma to the power of the milestones that have been passed, see `Schedule.factor`."""
        if (warming := self.warming(step, total, elapsed)) is not None:
            return warming
        progress = progress_of(step, total, elapsed)
        passed = [(progress if milestone < 1 else step) >= milestone for milestone in self.milestones]
        return float(self.gamma ** sum(passed))

    def decay(self, progress: float) -> float:
        """Return the factor, of milestones that are shares."""
        return float(self.gamma ** sum(progress >= milestone for milestone in self.milestones))


class OneCycle(Schedule):
    """Raise the learning rate along a half cosine to the base rate, and let it fall along another to next to nothing.

    Equal to torch's OneCycleLR without its cycle of the momentum, and driven by time as well.

    Args:
        warmup: share of the run at which the base rate is reached.
        start: rate of the first step, as a share of the base rate.
        end: rate of the last step, likewise.

    Source: Smith and Topin 2018, "Super-Convergence"; values as in torch.

    Raises:
        ValueError: a share outside 0..1.

    """

    def __init__(self, warmup: float = 0.3, start: float = 0.04, end: float = 4e-6) -> None:
        super().__init__(warmup, end)
        if not 0 < warmup < 1 or not 0 < start <= 1:
            raise ValueError(
                f"schedule.warmup, schedule.start: {warmup}, {start}, but shares are expected, such as 0.3 and 0.04"
            )
        self.start = start

    def factor(self, step: int, total: float, elapsed: float) -> float:
        """Return what the base learning rate is multiplied by, see `Schedule.factor`."""
        progress = progress_of(step, total, elapsed)
        # the last step of the rise is the one with the base rate, as the last one of all is that with the end's
        peak = max(0.0, (self.warmup * total - 1) / (total - 1)) if 1 < total < math.inf else self.warmup
        if progress < peak:
            return self.start + (1 - self.start) * (1 - self.decay(progress / peak))
        return self.end + (1 - self.end) * self.decay((progress - peak) / (1 - peak))

    def decay(self, progress: float) -> float:
        """Return the half cosine from 1 to 0."""
        return 0.5 * (1 + math.cos(math.pi * progress))
