"""Which sample comes when, in every process: the order of an epoch depends on the seed and the epoch alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Key(NamedTuple):
    """What a worker is asked for: the sample `number`, at `position` in the order of `epoch`."""

    epoch: int
    position: int
    number: int


class TrainingOrder(Sampler[Key]):
    """Shuffle anew every epoch, and tell the workers the epoch and the position.

    Each process takes every `world_size`-th position, the same number in each; what is left over (fewer samples than
    processes) waits for the next epoch's shuffle. Where there are fewer samples than processes they are repeated.

    Args:
        number: samples in the data set.
        seed: decides the order together with the epoch.
        rank: this process, 0..world_size - 1.
        world_size: processes that train together.

    """

    def __init__(self, number: int, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        assert number > 0, number
        assert 0 <= rank < world_size, (rank, world_size)
        self.number, self.seed, self.rank, self.world_size = number, seed, rank, world_size
        self.epoch = 0
        self.start = 0  # samples left out of the next epoch, by a run that resumes within it

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(self.number // self.world_size, 1)

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.number)
        start, self.start = self.start, 0
        for step in range(start, len(self)):
            position = step * self.world_size + self.rank
            yield Key(self.epoch, position, int(order[position % self.number]))


class EvaluationBatches(Sampler[list[Key]]):
    """Batch samples of one size each, in list order within a size; no sample twice, none left out.

    Processes share the samples, equally to within one; no process gets another's sample.

    Args:
        sizes: a size for each sample; whatever compares equal may share a batch.
        batch_size: samples in a batch, at most.
        rank: this process, 0..world_size - 1.
        world_size: processes that evaluate together.

    Raises:
        ValueError: fewer samples than processes; one would wait for the others without end.

    """

    def __init__(self, sizes: Sequence[tuple[int, ...]], batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        assert 0 <= rank < world_size, (rank, world_size)
        if len(sizes) < world_size:
            raise ValueError(
                f"{len(sizes)} images cannot be shared among {world_size} processes, each of which needs one; "
                f"evaluate with --trainer.devices {max(1, len(sizes))}"
            )
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, size in enumerate(sizes):
            groups.setdefault(size, []).append(index)
        # Dealing out the samples size by size, not list order, keeps the batches of every process full.
        dealt = [index for group in groups.values() for index in group][rank::world_size]
        batches: list[list[int]] = []
        for index in dealt:
            if not batches or len(batches[-1]) == batch_size or sizes[batches[-1][0]] != sizes[index]:
                batches.append([])
            batches[-1].append(index)
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self.batches:
            yield [Key(0, index, index) for index in batch]
