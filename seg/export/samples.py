"""The images that an export is checked, calibrated and judged with: those of the run where they are still there."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seg.configured import built
from seg.convert.tree import files_below
from seg.data.base import SegmentationData
from seg.data.dataset import Pairs
from seg.data.images import resize_image
from seg.export.card import Card
from seg.infer import padded
from seg.models.blocks import SMALLEST_SIZE
from seg.predict import SUFFIXES

if TYPE_CHECKING:
    from seg.infer import Predictor


def run_data(checkpoint: Path, card: Card, root: Path | None = None) -> SegmentationData:
    """Return the data module that a checkpoint was trained with, as the config.yaml of its run describes it.

    Args:
        checkpoint: lies in its run folder.
        card: what the checkpoint says of its classes.
        root: folder of the data set, where it has moved.

    Raises:
        FileNotFoundError: there is no config.yaml, or the data set is gone.
        ValueError: the data set has other classes, or the config is not one of this project.

    """
    config = checkpoint.resolve().parent.parent / "config.yaml"
    if not config.is_file():
        raise FileNotFoundError(
            f"{checkpoint} does not lie in a run folder: there is no {config}, which names the data; give the file "
            "that lies in the run's `checkpoints`"
        )
    moved = [] if root is None else ["--data.init_args.root", str(root)]
    try:
        data = built(["fit", "--config", str(config), *moved]).data
    except SystemExit as ended:
        raise ValueError(f"{config} cannot be read by this version of seg, see above") from ended
    if not isinstance(data, SegmentationData):
        raise ValueError(f"{config}: its data set is none of seg's own; its splits cannot be read here")
    if data.class_names != card.class_names:
        raise ValueError(f"{config}: the data set has other classes than {checkpoint}; it has changed since")
    if not data.root.is_dir():
        raise FileNotFoundError(f"the data set of {config} is gone: there is no folder {data.root}; see --root")
    data.prepare_data()
    return data


def training_images(data: SegmentationData, count: int) -> Iterator[Tensor]:
    """Yield images (1, N, H, W) of the training split, evenly spread over it, as evaluation would show them."""
    reader = data.reader()
    reader.channels = data.normalisation.channels
    resize = None if data.resize is None else (data.resize[0], data.resize[1])
    dataset = Pairs(data.split_pairs("train"), data.labels, reader, None, resize, pixels=data.pixels)
    for index in _spread(len(dataset), count):
        yield dataset[index]["image"][None]


def folder_images(folder: Path, predictor: "Predictor", count: int) -> Iterator[Tensor]:
    """Yield images (1, N, H, W) of a folder, as `seg predict` would show them to the network.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
        ValueError: an image that the network does not take.

    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--calibrate {folder}: there is no such folder")
    paths = files_below(folder, SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"--calibrate {folder}: there is no image; looked for {', '.join(SUFFIXES)}")
    for index in _spread(len(paths), count):
        image = predictor.read(paths[index])
        if (resize := predictor.network.resize) is not None:
            image = resize_image(image, (resize[0], resize[1]))
        yield padded(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None])


def drawn_images(card: Card, count: int) -> Iterator[Tensor]:
    """Yield images (1, N, 192, 256) with structure at several scales, of the mean and deviation that a card names."""
    generator = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (card.mean, card.std))
    highest = {"uint8": 255, "uint16": 65535}.get(card.dtype)
    for _ in range(count):
        image = torch.zeros(1, len(card.mean), 192, 256)
        for side in (4, 16, 64):
            noise = torch.randn(1, len(card.mean), side, side, generator=generator)
            image += F.interpolate(noise, image.shape[2:], mode="bilinear")
        image = mean + std * image
        yield (image.clamp(0, highest).round() if highest else image).to(getattr(torch, card.dtype))


def at_three_sizes(images: Iterable[Tensor]) -> list[Tensor]:
    """Return an image at its own size and two batches at odd ones: about two thirds of it, and a small pair.

    Args:
        images: (1, N, H, W), three or more or all that there are.

    """
    first, second, third, fourth = itertools.islice(itertools.cycle(map(_large_enough, images)), 4)
    height, width = second.shape[2] * 2 // 3 | 1, second.shape[3] * 2 // 3 | 1
    small = [min(side, image.shape[axis]) for axis, side in ((2, 97), (3, 131)) for image in (third, fourth)]
    rows, columns = (min(pair) - (min(pair) + 1) % 2 for pair in (small[:2], small[2:]))
    pair = torch.cat([image[..., :rows, :columns] for image in (third, fourth)])
    return [first, second[..., :height, :width], pair]


def _large_enough(image: Tensor) -> Tensor:
    """Repeat an image until both sides have more than the smallest that networks take."""
    least = SMALLEST_SIZE * 3 // 2
    down, right = (-(-least // side) for side in image.shape[2:])
    return image.repeat(1, 1, down, right)


def _spread(available: int, count: int) -> Sequence[int]:
    """Return `count` indices, or all, evenly spread."""
    return [index * available // count for index in range(count)] if count < available else range(available)
