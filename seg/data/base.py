"""What all data modules share: splits, loaders, augmentation, classes, cache. A data set adds where its files are."""

import logging
import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import albumentations as A
import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from seg.data import processes
from seg.data.augment import Augment
from seg.data.classes import IGNORE, Classes
from seg.data.counts import class_counts, pixel_counts
from seg.data.dataset import Pair, Pairs, Reader, check_files
from seg.data.images import Channels, Labels
from seg.data.loader import TrainingLoader, loading, resized
from seg.data.normalisation import Normalisation
from seg.data.pixels import PixelFacts, Pixels
from seg.data.presets import prefer_rare, preset
from seg.data.sampling import EvaluationBatches, Sampling, TrainingOrder, balanced_weights
from seg.data.splits import Split, divide

logger = logging.getLogger(__name__)


class SegmentationData(PixelFacts, pl.LightningDataModule):
    """Read images and masks of a data set in batches.

    The same seed gives the same batches, whatever `num_workers` and `multiprocessing_context` are.

    Args:
        root: folder of the data set.
        classes: class names; a class's label is its position.
        colors: one [red, green, blue] of 0..255 a class; where not given, colours that colour-blind people tell apart.
        label_map: value in the mask files -> class, or 255 for ignore; values it does not name keep their meaning.
        crop: [height, width] in pixels that the default augmentation cuts out to train on.
        resize: [height, width] that images are brought to. Masks too in training; in validation and test the mask keeps
            its own size, and that is where the prediction is scored.
        resize_masks: false keeps the masks' own size in training too: the loss is then computed where the score is, and
            `crop` counts pixels of the mask. Worth its time for thin objects, in data whose images have one size.
        augment: light, standard (scale 0.5–2, random crop, flip, colour jitter), strong or random; or albumentations
            classes, a list of class_path and init_args, which must end in a crop where images differ in size; [] is
            nothing. Masks are filled with 255; cut-out classes keep the labels that they hide, or ignore them with
            fill_mask: 255.
        multi_scale: factors, such as [0.75, 1.0, 1.25]; a training batch is resized by one of them, drawn for it.
        sampling: uniform trains on each image once an epoch; balanced draws classes, all alike, and images with them.
        rare_crops: share of the training crops that must contain a rare class, of images that have one.
        rare_classes: names of the rare classes; those with less than half of an equal share of pixels where not given.
        repeat: times that an epoch goes through the training images; more than 1 for small data sets.
        val_fraction: share of the images to validate on, stratified by class, instead of the data set's own lists.
        fold: [k, n] validates the k-th of n such parts (k from 1) and trains on the others; n runs validate on all.
        group: keeps images of one scene in one part: a regular expression whose first group is the scene in the image's
            name, a mapping from names to scenes, or a CSV file below root with the columns id and group.
        split_seed: another one divides the images differently.
        batch_size: images in a batch of one process.
        num_workers: processes that read; auto is one a core, at most 8, shared among the processes that train.
        check: look at files that no run has looked at yet before a fit starts (`seg doctor data` looks closer).
        cache: keep decoded images: none, in ram while the run lasts, or on disk across runs.
        cache_limit: GiB that all caches of a run may take on a machine; what does not fit is decoded each time.
        channels: rgb makes every image 8-bit RGB; grey keeps one band of brightness, native all bands of the file, and
            both the file's depth: 8 bits, 16 bits or floats. The network's in_channels follows.
        stats: imagenet, or auto, mean and std of the training split; null is imagenet for rgb and auto for others.
        clip_percentiles: [lower, upper] of the training split, a band, beyond which auto cuts values off; null is
            [0.5, 99.5] for more than 8 bits and nothing for 8; [] is nothing.
        clip: [lowest, highest] value of each band, typed by hand instead.
        mean: of the pixel values, a number a band, typed by hand instead.
        std: of the pixel values, a number a band, typed by hand instead.
        seed: decides order and augmentation, with the epoch; that of the run (seed_everything) where not given.
        multiprocessing_context: how workers start; null is the platform's own way.

    Raises:
        ValueError: a setting that cannot be.

    """

    ignore_index = IGNORE
    tree: ClassVar[str] = ""
    """The files that the data set consists of, and where they come from, for errors; {root} is filled in."""

    def __init__(
        self,
        root: str,
        classes: list[str] | None = None,
        colors: list[list[int]] | None = None,
        label_map: dict[int, int] | None = None,
        crop: tuple[int, int] = (512, 512),
        resize: tuple[int, int] | None = None,
        resize_masks: bool = True,
        augment: list[A.BasicTransform | A.BaseCompose] | str | None = "standard",
        multi_scale: list[float] | None = None,
        sampling: Literal["uniform", "balanced"] = "uniform",
        rare_crops: float = 0.0,
        rare_classes: list[str] | None = None,
        repeat: int = 1,
        val_fraction: float | None = None,
        fold: tuple[int, int] | None = None,
        group: str | dict[str, str] | None = None,
        split_seed: int = 0,
        batch_size: int = 8,
        num_workers: int | Literal["auto"] = "auto",
        check: bool = True,
        cache: Literal["none", "ram", "disk"] = "none",
        cache_limit: float = 4.0,
        channels: Channels = "rgb",
        stats: Literal["imagenet", "auto"] | None = None,
        clip_percentiles: list[float] | None = None,
        clip: list[list[float]] | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        seed: int | None = None,
        multiprocessing_context: Literal["fork", "forkserver", "spawn"] | None = None,
    ) -> None:
        super().__init__()
        checked = Classes(classes or [], colors)
        self.root = Path(root).expanduser()
        self.class_names, self.class_colors = list(checked.names), [list(color) for color in checked.colors]
        self.labels = Labels(len(checked), label_map)
        self.crop, self.resize = _size("crop", crop), resize and _size("resize", resize)
        self.augment = augment if isinstance(augment, list) else preset(augment)
        rare = None if rare_classes is None else tuple(rare_classes)
        self.sampling = Sampling(sampling, repeat, rare_crops, rare, tuple(multi_scale or ()))
        self.split = Split(val_fraction, fold, group, split_seed)
        self.resize_masks = resize_masks
        self.batch_size, self.num_workers = _at_least("batch_size", batch_size, 1), num_workers
        if num_workers != "auto":
            _at_least("num_workers", num_workers, 0)
        self.check, self.cache = check, cache
        self.cache_limit = _at_least("cache_limit", cache_limit, 0)
        self.normalisation = Normalisation(channels, stats, clip_percentiles, clip, mean, std)
        self.seed, self.multiprocessing_context = _at_least("seed", seed or 0, 0), multiprocessing_context
        self.datasets: dict[str, Pairs] = {}
        self._parts: dict[str, list[Pair]] = {}

    @abstractmethod
    def pairs(self, split: str) -> list[Pair]:
        """Return the files of a split, "train", "val" or "test".

        Raises:
            FileNotFoundError: the list of the split is not there.

        """

    def pool(self) -> list[Pair]:
        """Return the files that `val_fraction` and `fold` divide: all that are not for testing."""
        train = self.pairs("train")
        try:
            val = self.pairs("val")
        except FileNotFoundError:  # nobody needs a list of what is about to be chosen
            return train
        return list(dict.fromkeys([*train, *val]))

    def split_pairs(self, split: str) -> list[Pair]:
        """Return the files of a split, as the data set's lists or `val_fraction` and `fold` have it."""
        if split == "test" or not self.split.divides:
            return self.pairs(split)
        if not self._parts:
            pool, test = self.pool(), self.pairs("test") if self.has_test() else []
            check_files(pool, self._reader(), "the train and val splits", self.root, self._tree())
            self._parts = divide(self.split, pool, test, self._class_counts, self.root)
        return self._parts[split]

    def reader(self) -> Reader:
        """Return how this data set's files become pixels."""
        return Reader()

    def has_test(self) -> bool:
        """Tell whether there is a test split with masks; `test` reads the validation split where not."""
        return True

    @property
    def num_classes(self) -> int:
        """The number of classes, 255 (ignore) not counted."""
        return len(self.class_names)

    @cached_property
    def pixels(self) -> Pixels:
        """What the pixels are, and how they are normalised; images are read for it unless they are plain RGB."""
        settings = self.normalisation
        if settings.needs_files and not self.root.is_dir() and os.environ.get("LOCAL_RANK", "0") == "0":
            self.prepare_data()  # the network is built from this, before Lightning would call it
        return settings.pixels(lambda: self.split_pairs("train"), self._reader(), self.root)

    @property
    def test_split_name(self) -> str:
        """The split that `test` reads: "test", or "val" where the data set has no test masks."""
        return "test" if self.has_test() else "val"

    def setup(self, stage: str) -> None:
        """List the files that a stage needs and see that all are there, before the first step."""
        test = self.test_split_name
        # a fit ends with a test: what that lacks must not come out after hours of training
        needed = {"fit": ["train", "val", test], "validate": ["val"], "test": [test]}.get(stage, [])
        if stage == "test" and test != "test":
            logger.warning("%s has no test split with masks: test reads val", self.root)
        with processes.one_of_each_machine_first(self.trainer):
            for split in needed:
                if split not in self.datasets:
                    self.datasets[split] = self._dataset(split)

    def pixel_counts(self) -> tuple[list[int], list[int]]:
        """Return for each class its pixels in the training split, and those of the images that contain it."""
        with processes.one_of_each_machine_first(self.trainer):
            return pixel_counts(self.datasets["train"].pairs, self.labels, self._reader(), self.root)

    def _class_counts(self, pairs: Sequence[Pair]) -> np.ndarray:
        """Return the pixels of each class, 255 not counted, in each of some files: (files, classes)."""
        return class_counts(pairs, self.labels, self._reader(), self.root)[:, :-1]

    def train_dataloader(self) -> DataLoader[Any]:
        """Return shuffled, augmented batches; the incomplete last one is left out unless it is the only one."""
        dataset = self.datasets["train"]
        weights = None
        if self.sampling.images == "balanced":
            with processes.one_of_each_machine_first(self.trainer):
                weights = balanced_weights(self._class_counts(dataset.pairs))
        order = TrainingOrder(len(dataset), self.seed, *processes.rank(self.trainer), self.sampling.repeat, weights)
        return TrainingLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=len(order) >= self.batch_size,
            begin=self._batches_done,
            **self._loading(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return every validation image once, at its full size (or `resize`), in batches of one size."""
        return self._evaluation("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """Return every test image once, at its full size (or `resize`), in batches of one size."""
        return self._evaluation(self.test_split_name)

    def _evaluation(self, split: str) -> DataLoader[Any]:
        dataset = self.datasets[split]
        sizes = [dataset.reader.size(pair) for pair in dataset.pairs]
        batches = EvaluationBatches(sizes, self.batch_size, *processes.rank(self.trainer))
        return DataLoader(dataset, batch_sampler=batches, **self._loading())

    def _loading(self) -> dict[str, Any]:
        sharing = processes.on_this_machine(self.trainer)
        return loading(self.num_workers, sharing, self.multiprocessing_context, self.seed)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Resize a training batch where `multi_scale` asks for it, by one factor in all processes."""
        if self.trainer is None or not self.trainer.training:
            return batch
        return resized(batch, self.sampling.factor(self.seed, self.trainer.current_epoch, self._batches_done()))

    def _batches_done(self) -> int:
        """Return the batches of the current epoch that a resumed run has behind it, 0 at the start of any other."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready if self.trainer is not None else 0

    def _dataset(self, split: str) -> Pairs:
        """Build a split's data set, its files looked for, its cache laid out."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"root: there is no folder {self.root}.\n{self._tree()}")
        pairs, reader = self.split_pairs(split), self._reader()
        check_files(pairs, reader, f"the {split} split", self.root, self._tree())
        augment = self._augmentation(pairs) if split == "train" else None
        dataset = Pairs(pairs, self.labels, reader, augment, self.resize, self.resize_masks, self.pixels)
        if self.cache != "none":
            limit = self.cache_limit * 2**30 / (processes.on_this_machine(self.trainer) if self.cache == "ram" else 1)
            used = sum(other.cache.size for other in self.datasets.values() if other.cache is not None)
            dataset.keep(self.cache, int(limit) - used, self.root, split)
        return dataset

    def _reader(self) -> Reader:
        reader = self.reader()
        reader.channels = self.normalisation.channels
        return reader

    def _augmentation(self, pairs: Sequence[Pair]) -> Augment:
        chosen = self.augment if isinstance(self.augment, list) else self.augment(self.crop, self.pixels)
        if self.sampling.rare_crops:
            rare = self.sampling.rare_labels(self._class_counts(pairs), self.class_names)
            prefer_rare(chosen, rare, self.sampling.rare_crops)
        return Augment(chosen, self.seed, self.pixels)

    def _tree(self) -> str:
        return self.tree.format(root=self.root)


def _size(name: str, value: Sequence[int]) -> tuple[int, int]:
    if len(value) != 2 or min(value) < 1:
        raise ValueError(f"{name}: {list(value)} must be [height, width] in pixels, each at least 1")
    return int(value[0]), int(value[1])


def _at_least(name: str, value: Any, least: int) -> Any:
    if value < least:
        raise ValueError(f"{name}: {value} must be at least {least}")
    return value
