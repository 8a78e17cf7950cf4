"""The loss of an optimiser step as one mean over pixels: those of all processes and of all accumulated batches.

A mean of the batches' means would weigh a pixel the more, the fewer valid ones its batch has. Here a process divides
the sum over its pixels by the mean count of all processes, so that the average that DDP makes of gradients is right;
and the batches of a step weigh as much as they have pixels. With one process and one batch a step nothing is changed.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, distributed, nn

_seen: ContextVar[list[Tensor] | None] = ContextVar("denominators", default=None)


def denominator(total: Tensor) -> Tensor:
    """Return what a loss divides its sum over pixels by.

    Args:
        total: scalar, the number of pixels that count, or the sum of their weights.

    Returns:
        `total`, or 1 where that is 0. Within `over_processes` the total of all processes, divided by their number: the
        mean of the processes' losses is then the mean over all their pixels.

    """
    seen = _seen.get()
    if seen is not None:
        total, processes = over_all(total)
        seen.append(total)
        if processes > 1:
            total = total / processes
    return torch.where(total > 0, total, 1)


def over_all(value: Tensor) -> tuple[Tensor, int]:
    """Return the sum of a tensor over all processes, and their number."""
    processes = distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
    if processes > 1:
        value = value.clone()
        distributed.all_reduce(value)
    return value, processes


@contextmanager
def over_processes() -> Iterator[list[Tensor]]:
    """Let every loss that calls `denominator` average over the pixels of all processes.

    The processes wait for each other: all of them must compute the same losses. Yields the list to which the totals of
    all processes are added as the losses are computed.
    """
    seen: list[Tensor] = []
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


class StepMean:
    """Average over the batches of an optimiser step, each weighted by its pixels.

    The weights are known one after the other, while gradients add up: a batch's loss is weighted relative to the first
    of its step, and the sum of gradients brought to scale once, before it is clipped. Losses that are no single mean
    over pixels (Dice, Lovász, sums of several) give every batch the same weight.

    Args:
        loss: the task's loss; its attribute `is_pixel_mean` tells whether it is a mean over pixels.

    """

    def __init__(self, loss: nn.Module) -> None:
        self.by_pixels = bool(getattr(loss, "is_pixel_mean", False))
        self.batches = 1
        self.seen: list[Tensor] = []
        self.weight: Tensor | None = None
        self.reference: Tensor | None = None
        self.total: Tensor | None = None
        self.sums: dict[str, Tensor] = {}
        self.mean: Tensor | None = None

    def begin(self, batch_idx: int, batches: int) -> None:
        """Begin a batch.

        Args:
            batch_idx: its number in the epoch.
            batches: how many an optimiser step has; the last one of an epoch may have fewer.

        """
        self.batches = batches
        if batch_idx % batches == 0:
            self.reference = self.total = None
            self.sums = {}

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Compute the loss of a batch within this, and hand it to `add`."""
        with over_processes() as self.seen:
            yield

    def add(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add named losses of a batch, the one that is trained is `loss`; return means over the step so far to log."""
        self.mean = losses["loss"].detach()
        if self.batches == 1:
            return dict(losses)
        ones = torch.ones_like(self.mean)
        self.weight = weight = self.seen[0].float() if self.by_pixels and self.seen else ones
        # a batch of ignored pixels alone adds nothing: the first other one is what the rest is relative to
        self.reference = weight if self.reference is None else torch.where(self.reference > 0, self.reference, weight)
        self.total = weight if self.total is None else self.total + weight
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + weight * loss.detach()
        whole = torch.where(self.total > 0, self.total, 1.0)
        means = {name: self.sums[name] / whole for name in losses}
        self.mean = means["loss"]
        return means

    def weighted(self, loss: Tensor) -> Tensor:
        """Return the loss of a batch times its weight."""
        if self.batches == 1 or self.weight is None or self.reference is None:
            return loss
        return loss * (self.weight / torch.where(self.reference > 0, self.reference, 1.0))

    def scale(self) -> Tensor | float:
        """Return what the sum of a step's weighted losses is multiplied by; Lightning has divided by their number."""
        if self.batches == 1 or self.reference is None or self.total is None:
            return 1.0
        return torch.where(self.total > 0, self.batches * self.reference / self.total, 1.0)

    def rescale(self, parameters: Iterable[nn.Parameter], flood: float = 0.0) -> None:
        """Bring the gradients of a complete step to scale.

        Args:
            parameters: whose gradients are changed.
            flood: level of the step's loss, the mean of all processes and batches, below which gradients are turned
                round: those of |loss − flood| + flood; 0 for none.

        """
        factor = self.scale()
        if flood and self.mean is not None:
            mean, processes = over_all(self.mean)
            factor = factor * torch.sign(mean / processes - flood)
        if not isinstance(factor, Tensor):
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
