"""From lists of files to batches: the data sets that workers hold, and how their samples become a batch."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from seg.data.augment import Augment
from seg.data.cache import Cache, disk_folder, fingerprint
from seg.data.images import (
    Channels,
    Labels,
    Size,
    read_image,
    read_mask,
    read_size,
    refuse_two_sizes,
    resize_image,
    resize_mask,
)
from seg.data.pixels import Pixels
from seg.data.sampling import Key


class Pair(NamedTuple):
    """An image file, its mask file, and the name that both go by."""

    id: str
    image: str
    mask: str


class Reader:
    """Read a pair's files; a data set whose annotations are not mask files derives from this, picklable for workers."""

    channels: Channels = "rgb"
    """What images are read as; the data module sets it."""

    def image(self, pair: Pair) -> np.ndarray:
        """Return the image, (H, W, N) as `read_image` gives it, upright."""
        return read_image(pair.image, self.channels)

    def mask(self, pair: Pair) -> np.ndarray:
        """Return the mask's values, uint8 (H, W), before `Labels` gives them their meaning."""
        return read_mask(pair.mask)

    def size(self, pair: Pair) -> Size:
        """Return the image's upright size without decoding it."""
        return read_size(pair.image)

    def files(self, pair: Pair) -> list[str]:
        """Return the files that must be there, and on which caches depend."""
        return [pair.image, pair.mask]

    def settings(self) -> Any:
        """Return what else masks depend on, of plain values; caches are made anew where it changes."""
        return None

    def both(self, pair: Pair, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
        """Return image and mask of one size, every label checked.

        Raises:
            FileNotFoundError: one of the files is not there.
            ValueError: a file that cannot be read, a label that is no class, or two sizes.

        """
        image, mask = self.image(pair), self.mask(pair)
        refuse_two_sizes(image, mask, pair.image, pair.mask)
        return image, labels.apply(mask, pair.mask)


def check_files(pairs: Sequence[Pair], reader: Reader, what: str, root: Path, tree: str) -> None:
    """See that there are files and that all are where they are said to be.

    Args:
        pairs: the files.
        reader: how they become pixels.
        what: they are, for the error.
        root: folder of the data set, for the error.
        tree: what is expected where, for the error.

    Raises:
        FileNotFoundError: some are not there.
        ValueError: there are none at all.

    """
    if not pairs:
        raise ValueError(f"{what} of {root} is empty: no image with a mask is listed.\n{tree}")
    missing = [file for pair in pairs for file in reader.files(pair) if not os.path.isfile(file)]
    if missing:
        shown = "\n  ".join(missing[:5]) + ("\n  …" if len(missing) > 5 else "")
        raise FileNotFoundError(
            f"{len(missing)} files of {what} are missing:\n  {shown}\n"
            f"Complete the data set or take them out of the list.\n{tree}"
        )


class Sample(TypedDict):
    """Image (N, H, W) in its own type, mask uint8 (H, W) with 255 = ignore, and the sample's name."""

    image: torch.Tensor
    mask: torch.Tensor
    id: str


class Pairs(Dataset[Sample]):
    """Read samples: decoded (or taken from the cache), checked, resized, augmented.

    Args:
        pairs: the files.
        labels: what the values in the masks mean.
        reader: how files become pixels.
        augment: the augmentation; None for evaluation.
        resize: (height, width) that images are brought to first; masks too in training, but never in evaluation.
        resize_masks: false leaves the masks alone in training too: augmentation sees full-size images and masks, and
            the image is scaled last, by what `resize` would have scaled it.
        pixels: what all images must be.

    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        labels: Labels,
        reader: Reader,
        augment: Augment | None = None,
        resize: tuple[int, int] | None = None,
        resize_masks: bool = True,
        pixels: Pixels = Pixels(),  # noqa: B008 (cannot be changed)
    ) -> None:
        self.pairs, self.labels, self.reader, self.pixels = list(pairs), labels, reader, pixels
        self.augment, self.resize = augment, resize
        self.cache: Cache | None = None
        self.scale_last = resize is not None and augment is not None and not resize_masks

    def keep(self, kind: Literal["ram", "disk"], limit: int, root: Path, name: str) -> None:
        """Keep what `read` returns, shared by all workers, up to a number of bytes.

        Args:
            kind: see `Cache`.
            limit: bytes at most.
            root: folder of the data set.
            name: of the split.

        """
        sizes = [self.reader.size(pair) for pair in self.pairs]
        resize = None if self.scale_last else self.resize
        images = [resize or size for size in sizes]
        shapes = list(zip(images, images if self.augment is not None else sizes, strict=True))
        pixels: Any = {"bands": self.pixels.bands, "dtype": self.pixels.dtype}
        if kind == "ram":
            self.cache = Cache("ram", shapes, limit, **pixels)
            return
        labels = self.labels.num_classes, sorted(self.labels.label_map.items())
        # the mean, of the pixels' facts, stands for what is missing
        settings = (name, resize, *labels, self.reader.settings(), self.pixels[:4])
        key = fingerprint(settings, [file for pair in self.pairs for file in self.reader.files(pair)])
        purpose = "x".join(map(str, resize)) if resize else "full"
        self.cache = Cache("disk", shapes, limit, disk_folder(root), f"{name}-{purpose}", key, **pixels)

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image, (H, W, N), and mask, uint8 (H, W), before augmentation."""
        if self.cache is not None and (cached := self.cache.read(index)) is not None:
            return cached
        pair = self.pairs[index]
        image, mask = self.reader.both(pair, self.labels)
        self.pixels.check(image, pair.image)
        self.pixels.fill(image, mask)
        if self.resize is not None and not self.scale_last:
            image = resize_image(image, self.resize)
            if self.augment is not None:
                mask = resize_mask(mask, self.resize)
        if self.cache is not None:
            self.cache.write(index, image, mask)
        return image, mask

    def __getitem__(self, key: Key | int) -> Sample:
        """Return a sample: as training sees it for a `Key`, as of epoch 0 for a plain index."""
        epoch, position, index = key if isinstance(key, tuple) else (0, key, key)
        image, mask = self.read(index)
        if self.augment is not None:
            height, width = mask.shape
            image, mask = self.augment(image, mask, epoch, position)
            if self.scale_last and self.resize is not None:
                scaled = (mask.shape[0] * self.resize[0] / height, mask.shape[1] * self.resize[1] / width)
                image = resize_image(image, (max(1, round(scaled[0])), max(1, round(scaled[1]))))
        # Channels first is a matter of strides: the memory stays as it is, which is channels_last.
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return {"image": pixels, "mask": torch.from_numpy(np.ascontiguousarray(mask)), "id": self.pairs[index].id}


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Stack samples of one size to a batch: image (B, N, H, W) in channels_last memory, mask (B, H, W), id list.

    Raises:
        ValueError: sizes differ.

    """
    sizes = {tuple(sample["image"].shape[-2:]): sample["id"] for sample in samples}
    if len(sizes) > 1:
        listed = ", ".join(f"{name} {height}×{width}" for (height, width), name in list(sizes.items())[:3])
        raise ValueError(
            f"a batch needs images of one size, but has {listed}; end the augment list with a crop or a resize, such "
            "as class_path: seg.data.transforms.RandomScaleCrop, or set batch_size: 1 (resize_masks: false scales each "
            "image by its own factor and so needs images of one size)"
        )
    # Stacked in the order in which the pixels lie, then seen with channels first: a copy in one go. In a worker
    # default_collate stacks straight into shared memory.
    images = default_collate([sample["image"].permute(1, 2, 0) for sample in samples]).permute(0, 3, 1, 2)
    masks = default_collate([sample["mask"] for sample in samples])
    return {"image": images, "mask": masks, "id": [sample["id"] for sample in samples]}


def start_worker(worker: int) -> None:
    """Keep OpenCV to one thread in each worker, and leave Ctrl-C to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
