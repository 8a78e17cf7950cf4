"""Which sample comes when, in every process: the order of an epoch depends on the seed and the epoch alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Key(NamedTuple):
    """What a worker is asked for: the sample `number`, at `position` in the order of `epoch`."""

    epoch: int
    position: int
    number: int


@dataclass(frozen=True)
class Sampling:
    """Hold what is drawn how often in training, checked: images, crops, and the size of a batch.

    Args:
        images: uniform takes each image once in an epoch; balanced draws a class first, all alike, and then an image
            that contains it (class-aware sampling: Shen, Lin, Huang, "Relay Backpropagation", ECCV 2016).
        repeat: how often an epoch goes through the data set.
        rare_crops: share of the crops that must contain a rare class, of images that have one.
        rare_classes: names of the rare classes; None for those with less than half of an equal share of the pixels.
        multi_scale: factors of which one is drawn for each batch, to resize it by; none for a fixed size.

    Raises:
        ValueError: a setting that cannot be.

    """

    images: Literal["uniform", "balanced"] = "uniform"
    repeat: int = 1
    rare_crops: float = 0.0
    rare_classes: tuple[str, ...] | None = None
    multi_scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.images not in ("uniform", "balanced"):
            raise ValueError(f"sampling: '{self.images}' is neither uniform nor balanced")
        if self.repeat < 1:
            raise ValueError(f"repeat: {self.repeat} must be at least 1")
        if not 0 <= self.rare_crops <= 1:
            raise ValueError(f"rare_crops: {self.rare_crops} is a share of the crops, 0 to 1")
        if self.rare_classes is not None and not (self.rare_classes and self.rare_crops):
            cure = "name at least one" if self.rare_crops else "set rare_crops too, such as 0.5"
            raise ValueError(f"rare_classes: {list(self.rare_classes)} has no effect; {cure}, or leave it out")
        if any(not 0.1 <= factor <= 10 for factor in self.multi_scale):
            raise ValueError(f"multi_scale: {list(self.multi_scale)} must be factors between 0.1 and 10")

    def rare_labels(self, counts: np.ndarray, names: Sequence[str]) -> list[int]:
        """Return the labels of the rare classes.

        Args:
            counts: pixels of each class in each training image, (images, classes).
            names: of all classes.

        Raises:
            ValueError: a name that is no class, a class that no image has, or no class that is rare.

        """
        pixels = counts.sum(0)
        if self.rare_classes is None:
            there = np.count_nonzero(pixels)
            rare = [label for label, count in enumerate(pixels) if 0 < count < 0.5 * pixels.sum() / there]
            if not rare:
                raise ValueError(
                    "rare_crops: every class has at least half of an equal share of the training pixels, so that none "
                    "is rare; name some as rare_classes, or leave rare_crops out"
                )
            return rare
        for name in self.rare_classes:
            if name not in names:
                raise ValueError(f"rare_classes: '{name}' is no class; the classes are {', '.join(names)}")
            if not pixels[names.index(name)]:
                raise ValueError(f"rare_classes: no training image contains '{name}'; leave it out")
        return [names.index(name) for name in self.rare_classes]

    def factor(self, *numbers: int) -> float:
        """Return the factor by which a batch is resized, drawn from the numbers that name the batch."""
        if not self.multi_scale:
            return 1.0
        # one number more than augmentation takes: a stream of its own
        return float(np.random.default_rng([*numbers, 0]).choice(self.multi_scale))


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Return a probability for each image so that every class is drawn equally often.

    Args:
        counts: pixels of each class in each image, (images, classes).

    Returns:
        float64 (images,), of sum 1: the chance of an image where a class is drawn first, all that are there alike, and
        then one of the images that contain it. An image whose pixels are all ignored is never drawn.

    Raises:
        ValueError: no image has any class.

    """
    has = counts > 0
    images = has.sum(0)
    there = images > 0
    if not there.any():
        raise ValueError("sampling: balanced needs a class to draw, but all training pixels are ignored")
    return np.asarray((has[:, there] / images[there]).mean(1))


class TrainingOrder(Sampler[Key]):
    """Shuffle anew every epoch, and tell the workers the epoch and the position.

    Each process takes every `world_size`-th position, the same number in each; what is left over (fewer samples than
    processes) waits for the next epoch's shuffle. Where there are fewer samples than processes they are repeated.

    Args:
        number: samples in the data set.
        seed: decides the order together with the epoch.
        rank: this process, 0..world_size - 1.
        world_size: processes that train together.
        repeat: how often an epoch goes through the data set, each time in another order.
        weights: probability of each sample; they are then drawn with replacement, as many as otherwise.

    """

    def __init__(
        self,
        number: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeat: int = 1,
        weights: np.ndarray | None = None,
    ) -> None:
        assert number > 0, number
        assert 0 <= rank < world_size, (rank, world_size)
        assert weights is None or len(weights) == number, (number, weights)
        self.number, self.seed, self.rank, self.world_size = number, seed, rank, world_size
        self.repeat, self.weights = repeat, weights
        self.epoch = 0
        self.start = 0  # samples left out of the next epoch, by a run that resumes within it

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(self.repeat * self.number // self.world_size, 1)

    def __iter__(self) -> Iterator[Key]:
        random = np.random.default_rng([self.seed, self.epoch])
        if self.weights is None:
            order = np.concatenate([random.permutation(self.number) for _ in range(self.repeat)])
        else:
            order = random.choice(self.number, self.repeat * self.number, p=self.weights)
        start, self.start = self.start, 0
        for step in range(start, len(self)):
            position = step * self.world_size + self.rank
            yield Key(self.epoch, position, int(order[position % len(order)]))


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
