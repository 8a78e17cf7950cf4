"""The processes that read one data set: which of them this is, and who reads first."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
from torch import distributed


def rank(trainer: pl.Trainer | None) -> tuple[int, int]:
    """Return the number of this process and that of all processes; without a trainer there is one."""
    return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)


def on_this_machine(trainer: pl.Trainer | None) -> int:
    """Return how many processes share this machine."""
    return max(trainer.world_size // trainer.num_nodes, 1) if trainer is not None else 1


@contextmanager
def one_of_each_machine_first(trainer: pl.Trainer | None) -> Iterator[None]:
    """Let one process of each machine count and extract; the others then find what it has left beside the data."""
    together = trainer if distributed.is_available() and distributed.is_initialized() else None
    if together is not None and together.local_rank:
        together.strategy.barrier()
    try:
        yield
    finally:
        if together is not None and not together.local_rank:
            together.strategy.barrier()
