"""Weights that balance classes of different frequency, from counts of pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BALANCES = ("auto", "median_frequency", "inverse_square_root", "effective_number", "enet")
"""Names of the ways to compute weights; auto is median_frequency."""


def balance(pixels: Tensor, image_pixels: Tensor, name: str) -> Tensor:
    """Compute a weight for each class from the pixels of the training split.

    median_frequency: the median of the classes' frequencies over the frequency, which is a class's pixels among all
    pixels of the images that contain it (Eigen & Fergus 2015; SegNet's balancing).
    inverse_square_root: pixels ** −½, scaled to a mean of 1.
    effective_number: (1 − b) / (1 − b ** pixels), scaled to a mean of 1 (Cui et al. 2019), with b = 1 − 1 / (mean
    pixels of a class): the paper's b are made for thousands of images and would give millions of pixels equal weights.
    enet: 1 / ln(1.02 + p), p a class's share of all pixels (Paszke et al. 2016), not scaled.

    Args:
        pixels: (C,) pixels of each class.
        image_pixels: (C,) pixels, ignored ones too, of the images that contain the class.
        name: one of BALANCES.

    Returns:
        float32 weights (C,); 1 for a class without pixels.

    Raises:
        ValueError: another name, counts of different lengths, or no pixels at all.

    """
    if name not in BALANCES:
        raise ValueError(f"class_weights: '{name}' is none of {', '.join(BALANCES)}")
    if pixels.ndim != 1 or pixels.shape != image_pixels.shape:
        raise ValueError(
            f"pixel counts: {tuple(pixels.shape)} and {tuple(image_pixels.shape)}, but both are (classes,)"
        )
    counts, images = pixels.cpu().double(), image_pixels.cpu().double()
    there = counts > 0
    if not there.any():
        raise ValueError("pixel counts: no class has a pixel in the training split, so classes cannot be balanced")

    if name == "enet":
        weights = 1 / torch.log(1.02 + counts / counts.sum())
    elif name == "inverse_square_root":
        weights = counts**-0.5
        weights /= weights[there].mean()
    elif name == "effective_number":
        keep = 1 - 1 / counts[there].mean().clamp(min=2)
        weights = (1 - keep) / (1 - keep**counts)
        weights /= weights[there].mean()
    else:
        frequency = counts / images
        # The mean of the two middle ones where the number of classes is even.
        weights = frequency[there].quantile(0.5) / frequency
    return torch.where(there, weights, 1.0).float()


def balance_classes(
    loss: nn.Module, counts: tuple[list[int], list[int]], class_names: Sequence[str], device: torch.device
) -> list[str]:
    """Give a loss the training split's counts, see `Loss.set_pixel_counts`.

    Args:
        loss: one that needs pixel counts.
        counts: (C,) pixels of each class, and (C,) pixels of the images that contain it.
        class_names: names in the order of their index.
        device: where the loss computes.

    Returns:
        a line for each term that is weighted: what each class weighs.

    """
    pixels, image_pixels = (torch.as_tensor(values, device=device) for values in counts)
    loss.set_pixel_counts(pixels, image_pixels)  # type: ignore[operator]
    lines = []
    for name, weights in loss.named_buffers():
        if name.endswith("class_weights"):
            listed = zip(class_names, weights.tolist(), strict=True)
            lines.append(f"{name}: " + ", ".join(f"{label} {weight:.3g}" for label, weight in listed))
    return lines
