"""Augmentation by name: light, standard, strong and random, each a list of albumentations classes."""

from collections.abc import Callable, Sequence

import albumentations as A

from seg.data.augment import Transform, leaves
from seg.data.classes import IGNORE
from seg.data.pixels import Pixels
from seg.data.transforms import FastColorJitter, RandomScaleCrop, default_augmentation


class RandAugment(A.SomeOf):  # type: ignore[misc]
    """Apply some of 13 changes of geometry and colour, drawn anew for each image, all of one strength.

    Source: Cubuk, Zoph, Shlens, Le, "RandAugment", CVPR 2020; its operations without inverting, cutting out and
    solarising, and without identity, for which p stands. How strong a change is, is drawn evenly up to what the
    magnitude allows, in both directions where it has two.

    Args:
        operations: how many of the changes an image undergoes.
        magnitude: 0 to 10; at 10 turns reach 30°, shears 17°, shifts 30 % of a side, and brightness, contrast and
            saturation change by a factor of up to 1.9.
        fill: colour where a turned image has nothing, 0..255 a channel; masks have 255 there.
        p: probability that an image is changed at all.

    Raises:
        ValueError: a number out of range.

    """

    def __init__(
        self,
        operations: int = 2,
        magnitude: float = 5,
        fill: tuple[int, ...] = (124, 116, 104),
        p: float = 1.0,
    ) -> None:
        if not 0 <= magnitude <= 10:
            raise ValueError(f"magnitude: {magnitude} is not in 0..10")
        share = magnitude / 10
        turn, shear, shift, color = 30 * share, 17 * share, 0.3 * share, 0.9 * share
        affine = {"fill": fill, "fill_mask": IGNORE, "p": 1.0}
        transforms = [
            A.Rotate(limit=turn, **affine),
            A.Affine(shear={"x": (-shear, shear), "y": 0}, **affine),
            A.Affine(shear={"x": 0, "y": (-shear, shear)}, **affine),
            A.Affine(translate_percent={"x": (-shift, shift), "y": 0}, **affine),
            A.Affine(translate_percent={"x": 0, "y": (-shift, shift)}, **affine),
            FastColorJitter(color, 0, 0, 0),
            FastColorJitter(0, color, 0, 0),
            FastColorJitter(0, 0, color, 0),
            FastColorJitter(0, 0, 0, 0.1 * share),
            A.Sharpen(alpha=(0, color), lightness=(1.0, 1.0), p=1.0),
            A.Posterize(num_bits=(8 - round(4 * share), 8), p=1.0),
            A.AutoContrast(p=1.0),
            A.Equalize(p=1.0),
        ]
        if not 1 <= operations <= len(transforms):
            raise ValueError(f"operations: {operations} is not in 1..{len(transforms)}")
        super().__init__(transforms, n=operations, p=p)
        self.operations, self.magnitude = operations, magnitude


def prefer_rare(transforms: Sequence[Transform], labels: Sequence[int], share: float) -> None:
    """Have a share of the crops contain one of the labels.

    Raises:
        ValueError: the list has no crop that can choose its window.

    """
    crops = [transform for transform in leaves(transforms) if isinstance(transform, RandomScaleCrop)]
    if not crops:
        raise ValueError(
            "rare_crops: the augment list has no seg.data.transforms.RandomScaleCrop, the crop that can choose its "
            "window; take it (with scale: [1, 1] it only crops), or leave rare_crops out"
        )
    for crop in crops:
        crop.rare_labels, crop.rare_share = list(labels), share


def light(crop: tuple[int, int], pixels: Pixels) -> list[Transform]:
    """Return scale 0.8 to 1.25, a random crop and a horizontal flip."""
    return [RandomScaleCrop(*crop, scale=(0.8, 1.25)), A.HorizontalFlip(p=0.5)]


def standard(crop: tuple[int, int], pixels: Pixels) -> list[Transform]:
    """Return the default augmentation: scale 0.5 to 2, a random crop, a horizontal flip, a jitter of what there is."""
    return default_augmentation(crop, pixels.are_rgb)


def strong(crop: tuple[int, int], pixels: Pixels) -> list[Transform]:
    """Return the standard with more jitter, turns of up to 15°, and now and then blur, noise or no colour."""
    fill = _color("strong", pixels)
    return [
        RandomScaleCrop(*crop),
        A.HorizontalFlip(p=0.5),
        A.Rotate(limit=15, fill=fill, fill_mask=IGNORE, p=0.5),
        FastColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.05),
        A.OneOf([A.GaussianBlur(p=1.0), A.GaussNoise(std_range=(0.02, 0.08), p=1.0)], p=0.3),
        A.ToGray(p=0.1),
    ]


def random(crop: tuple[int, int], pixels: Pixels) -> list[Transform]:
    """Return scale, crop and flip of the standard, then two changes of RandAugment."""
    return [RandomScaleCrop(*crop), A.HorizontalFlip(p=0.5), RandAugment(fill=_color("random", pixels))]


def _color(name: str, pixels: Pixels) -> tuple[int, ...]:
    """Return the colour of the padding; refuse images without colours, which the augmentation would change.

    Raises:
        ValueError: images that are not 8-bit RGB.

    """
    if not pixels.are_rgb:
        raise ValueError(
            f"augment: '{name}' changes the colours of 8-bit RGB, but images have {pixels.bands} bands of "
            f"{pixels.dtype}; take light or standard, or a list of transforms that suit them"
        )
    return tuple(round(value) for value in pixels.mean)


Preset = Callable[[tuple[int, int], Pixels], list[Transform]]
PRESETS: dict[str, Preset] = {"light": light, "standard": standard, "strong": strong, "random": random}
"""Augmentations by name: functions of (height, width) to train on and of what the images are."""


def preset(name: str | None) -> Preset:
    """Return the augmentation of a name; None, as old configurations have it, is standard.

    Raises:
        ValueError: there is no augmentation of that name.

    """
    name = "standard" if name is None else name
    if name not in PRESETS:
        raise ValueError(f"augment: '{name}' is none of {', '.join(PRESETS)}, and no list of albumentations classes")
    return PRESETS[name]
