"""Signs of over- and underfitting, read off a run's losses and scores as practitioners read their curves.

| training loss | validation | what it is |
| --- | --- | --- |
| stays high | stays high | underfitting |
| falls | loss rises | overfitting |
| falls | loss is far above, does not rise | a gap: the network knows its images better than others |
| still falls at the end | still better at the end | stopped too early |
| above that of validation | | augmentation, mixing and dropout make training the harder task |
| | swings | a small split, or a rate that is high to the end |
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Series = Mapping[str, Sequence[tuple[float, float]]]

LEAST = 4
"""Validations below which nothing is said: two points always lie on a line."""


def signs(series: Series, occurring: Collection[str] | None = None) -> list[str]:
    """Return what a run's curves say about over- and underfitting, and what usually helps; nothing where nothing.

    Training losses are averaged over the steps between two validations, so that both curves have the same points; a
    trend counts where it is larger than twice the standard error of its slope.

    Args:
        series: name -> [(step, value), …], as `seg.loggers.CSV.series` returns; train/loss, val/loss and val/miou are
            read, and val/iou/<class>.
        occurring: classes that have pixels in the truth of the validation, where that is known.

    """
    curves = Curves.of(series)
    found = []
    if curves is not None:
        for sign in (not_learning, overfitting, gap, easier, too_early, swinging):
            if (text := sign(curves)) is not None:
                found.append(text)
    if (text := never_found(series, occurring)) is not None:
        found.append(text)
    return found


@dataclass
class Curves:
    """Hold the curves of a run at its validations.

    Args:
        start: mean training loss of the first steps.
        steps: of the validations.
        train: mean training loss since the validation before.
        val: validation loss.
        score: validation mIoU, empty where it was not logged at each validation.
        comparable: whether both losses are sums of the same terms: auxiliary heads count in training alone.

    """

    start: float
    steps: list[float]
    train: list[float]
    val: list[float]
    score: list[float]
    comparable: bool

    @classmethod
    def of(cls, series: Series) -> "Curves | None":
        """Return the curves of a run, or None where there are too few validations."""
        train, val = finite(series.get("train/loss", ())), finite(series.get("val/loss", ()))
        score = dict(finite(series.get("val/miou", ())))
        limits = [-math.inf, *(step for step, _ in val)]
        parts = [[loss for step, loss in train if low < step <= high] for low, high in pairwise(limits)]
        kept = [number for number, part in enumerate(parts) if part]
        if len(kept) < LEAST:
            return None
        first = [loss for _, loss in train[: max(1, min(10, len(train) // 20))]]
        steps = [val[number][0] for number in kept]
        return cls(
            start=mean(first),
            steps=steps,
            train=[mean(parts[number]) for number in kept],
            val=[val[number][1] for number in kept],
            score=[score[step] for step in steps] if all(step in score for step in steps) else [],
            comparable="train/loss/auxiliary" not in series,
        )

    @property
    def tail(self) -> int:
        """The validations that make up the end of the run: the last third, at least LEAST."""
        return max(LEAST, math.ceil(len(self.steps) / 3))

    @property
    def lowest(self) -> int:
        """The position of the lowest validation loss."""
        return min(range(len(self.val)), key=self.val.__getitem__)

    @property
    def rises(self) -> bool:
        """Whether the validation loss rose again after its lowest point, while that of training fell."""
        after = self.val[self.lowest :]
        last = mean(after[-max(1, len(after) // 3) :])
        return len(after) >= 3 and last > 1.1 * after[0] and self.train[-1] < self.train[self.lowest]


def not_learning(curves: Curves) -> str | None:
    """Tell underfitting, or a training that went astray."""
    end = mean(curves.train[-2:])
    if end > 1.1 * curves.start > 0:
        return (
            f"diverged: the training loss ended at {end:.3g}, above the {curves.start:.3g} that it began with; "
            "try a tenth of the learning rate, warm-up or gradient clipping"
        )
    if end > 0.7 * curves.start > 0 and mean(curves.val[-2:]) > 0.7 * curves.start:
        return (
            f"underfitting: the training loss fell only from {curves.start:.3g} to {end:.3g}, and validation is no "
            f"better ({curves.val[-1]:.3g}); try another learning rate, a larger network, less augmentation and "
            "decay, more steps (seg doctor run tells whether it can learn at all)"
        )
    return None


def overfitting(curves: Curves) -> str | None:
    """Tell a validation loss that rises while that of training falls."""
    if not curves.rises:
        return None
    low = curves.lowest
    text = (
        f"overfitting: since step {curves.steps[low] + 1:.0f} the validation loss rose from {curves.val[low]:.3g} to "
        f"{curves.val[-1]:.3g} while that of training fell from {curves.train[low]:.3g} to {curves.train[-1]:.3g}; "
    )
    if curves.score and mean(curves.score[-2:]) >= max(curves.score[: low + 1]):
        return text + "mIoU did not suffer: the network is too sure of its errors; label smoothing calibrates it"
    return text + "try stronger augmentation, decay or dropout, a smaller network, more data, fewer steps"


def gap(curves: Curves) -> str | None:
    """Tell a validation loss far above that of training."""
    train, val = mean(curves.train[-2:]), mean(curves.val[-2:])
    if not curves.comparable or curves.rises or not val > 2 * train > 0:
        return None
    return (
        f"a gap: the validation loss ended at {val:.3g}, {val / train:.1f} times that of training, without rising; "
        "more data, augmentation or decay narrow it"
    )


def easier(curves: Curves) -> str | None:
    """Tell a validation that is easier than training."""
    train = mean(curves.train[-2:])
    # training losses are means over the steps between two validations: while both fall, its ends stand for such a mean
    val = mean([(before + after) / 2 for before, after in pairwise(curves.val[-3:])])
    if not curves.comparable or not 0 < val < 0.8 * train:
        return None
    return (
        f"training is the harder task: its loss ended at {train:.3g}, that of validation at {val:.3g}; augmentation, "
        "mixing or dropout are strong: right for long runs, weaker ones suit short runs and small networks"
    )


def too_early(curves: Curves) -> str | None:
    """Tell a run that was still getting better."""
    fell = falls(curves.train[-curves.tail :]) and falls(curves.val[-curves.tail :])
    rose = bool(curves.score) and falls([-score for score in curves.score[-curves.tail :]])
    best = not curves.score or max(curves.score) in curves.score[-2:]
    if curves.rises or not best or not (fell or (rose and falls(curves.train[-curves.tail :]))):
        return None
    return "stopped early: training and validation were still getting better at the end; more steps will help"


def swinging(curves: Curves) -> str | None:
    """Tell validation scores that swing from one to the next at the end of a run."""
    tail = curves.score[-curves.tail :]
    if not tail:
        return None
    _, scatter, _ = line(tail)
    if scatter < 0.03:
        return None
    return (
        f"validation swings: mIoU by ±{scatter:.3f} around its trend in the last {len(tail)} validations; best.ckpt is "
        "partly luck: average weights (EMA), let the rate fall to 0, or validate on more images"
    )


def never_found(series: Series, occurring: Collection[str] | None) -> str | None:
    """Tell classes that are in the truth and never predicted."""
    prefix = "val/iou/"
    scores = {name.removeprefix(prefix): values for name, values in series.items() if name.startswith(prefix)}
    lost = [name for name, values in scores.items() if len(values) >= LEAST and values[-1][1] == 0]
    if occurring is not None:
        lost = [name for name in lost if name in occurring]
    if not lost or len(lost) == len(scores):
        return None
    shown = ", ".join(lost[:8]) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
    said = f"never found in validation: {shown}"
    if occurring is None:  # a class that is not there has an IoU of 0 as soon as it is predicted
        said = f"IoU 0 in validation, never found or not there at all: {shown}"
    return f"{said}; for rare classes data.sampling: balanced, data.rare_crops or class weights in the loss help"


def finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of a series whose value is finite, in the order of their steps."""
    return sorted((float(step), float(value)) for step, value in points if math.isfinite(value))


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def line(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the slope of the least-squares line through equidistant values, the scatter around it, its error."""
    number, middle = len(values), (len(values) - 1) / 2
    spread = sum((position - middle) ** 2 for position in range(number))
    level = mean(values)
    slope = sum((position - middle) * (value - level) for position, value in enumerate(values)) / spread
    rest = [value - level - slope * (position - middle) for position, value in enumerate(values)]
    scatter = math.sqrt(sum(value * value for value in rest) / max(1, number - 2))
    return slope, scatter, scatter / math.sqrt(spread)


def falls(values: Sequence[float]) -> bool:
    """Tell whether values fall beyond doubt, and by more than a hundredth of their size."""
    slope, _, error = line(values)
    change = -slope * (len(values) - 1)
    return change > 0.01 * abs(mean(values)) and -slope > 2 * error
