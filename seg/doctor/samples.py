"""Small crops of samples, on which a network's ability to learn is tried in seconds."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional

RARE = 1e-3
"""Share of the labelled pixels below which a class is left out of what is to be learnt: a few dozen pixels."""


def small_batch(samples: Sequence[Any], side: int) -> dict[str, Any]:
    """Return crops of one size: image (B, N, h, w) in its own type, mask (B, h, w) brought to the image's size.

    Of five places the crop is taken where most classes are.

    Args:
        samples: as the data sets give them.
        side: height and width in pixels; less where an image is smaller.

    """
    sizes = np.array([sample["image"].shape[-2:] for sample in samples])
    height, width = np.minimum(sizes.min(0), side).tolist()
    images, masks = [], []
    for sample in samples:
        image, mask = sample["image"], sample["mask"]
        if mask.shape != image.shape[-2:]:
            mask = functional.interpolate(mask[None, None], image.shape[-2:], mode="nearest-exact")[0, 0]
        top, left = _place(mask.numpy(), height, width)
        images.append(image[:, top : top + height, left : left + width])
        masks.append(mask[top : top + height, left : left + width])
    return {"image": torch.stack(images), "mask": torch.stack(masks), "id": [sample["id"] for sample in samples]}


def _place(mask: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """Return the upper left corner of the window, of five, that has the most classes."""
    down, right = mask.shape[0] - height, mask.shape[1] - width
    places = [(down // 2, right // 2), (0, 0), (0, right), (down, 0), (down, right)]

    def classes(place: tuple[int, int]) -> int:
        window = mask[place[0] : place[0] + height, place[1] : place[1] + width]
        counts = np.bincount(window.ravel(), minlength=256)[:255]
        return int((counts > RARE * window.size).sum())

    return max(places, key=classes)


def outlines_ignored(masks: np.ndarray, scale: int, ignore: int) -> np.ndarray:
    """Return masks (B, H, W) without what a network cannot draw, or eight samples cannot teach.

    A network that decides in cells of `scale` pixels draws no outline finer than half a cell, whatever it learns; and a
    class of a few dozen pixels would decide the score by chance.
    """
    drawn = masks.copy()
    if scale > 1:
        kernel = np.ones((2 * (scale // 2) + 1,) * 2, np.uint8)
        for mask, result in zip(masks, drawn, strict=True):
            result[cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)] = ignore
    counts = np.bincount(drawn.ravel(), minlength=256)
    labelled = counts.sum() - counts[ignore]
    rare = [label for label, count in enumerate(counts) if label != ignore and 0 < count < RARE * labelled]
    drawn[np.isin(drawn, rare)] = ignore
    return drawn
