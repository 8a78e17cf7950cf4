"""Mixing the images of a training batch with each other, on the device: MixUp, CutMix, RICAP and copy-paste.

Where pixels are cut and pasted, their labels come with them, so that masks stay what they are: one label a pixel. MixUp
blends, and leaves both masks to the loss.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Batch = dict[str, Any]


class Mixing:
    """Mix a batch: what all ways of mixing share.

    Args:
        p: probability that a batch is mixed.

    Raises:
        ValueError: a probability out of 0..1.

    """

    def __init__(self, p: float = 1.0) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"model.mixing: p: {p} is no probability, 0 to 1")
        self.p = p

    def set_class_names(self, names: Sequence[str]) -> None:
        """Take the names of the data set's classes, for those who choose among them."""

    def __call__(self, batch: Batch, random: np.random.Generator, common: np.random.Generator | None = None) -> Batch:
        """Return the mixed batch; the one that is given stays as it is.

        Args:
            batch: image (B, N, H, W) of any type, mask (B, h, w) of integers, and whatever else there is, which stays.
            random: decides all that is drawn of the batch: partners, shares, places.
            common: decides whether the batch is mixed, alike in all processes: they wait for each other in every loss,
                and a batch with two masks has two; `random` where not given.

        Returns:
            the batch, its image and mask mixed; after MixUp also `other_mask` (B, h, w) and `share`: the loss is
            share · loss(mask) + (1 − share) · loss(other_mask).

        Raises:
            ValueError: a batch of one image, which has no other to be mixed with.

        """
        if len(batch["image"]) < 2:
            raise ValueError(
                f"model.mixing: {type(self).__name__} mixes the images of a batch with each other, but this batch "
                "holds a single one; set data.batch_size to 2 or more, or leave mixing out"
            )
        if (random if common is None else common).random() >= self.p:
            return batch
        return {**batch, **self.mix(batch["image"], batch["mask"], random)}

    def drawn_by(self, numbers: tuple[int, ...], rank: int, batch: Batch) -> Batch:
        """Return the mixed batch of a process, drawn from numbers that name it: a resumed run draws the same again.

        Args:
            numbers: such as seed, epoch and the batch's number; the same in all processes.
            rank: of this process.
            batch: see `__call__`.

        """
        # the last number begins at 1: numpy takes a missing one for 0, and the streams would be the same
        own = np.random.default_rng((*numbers, 1 + rank))
        return self(batch, own, np.random.default_rng(numbers))

    def mix(self, images: Tensor, masks: Tensor, random: np.random.Generator) -> Batch:
        """Return what changes of a batch of at least two images (B, N, H, W) and their masks (B, h, w)."""
        raise NotImplementedError


def batch_loss(loss: nn.Module, logits: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a batch's loss and its named terms; of images that are blends, the same share of those of both masks."""
    value, terms = loss(logits, batch["mask"]), dict(getattr(loss, "last_terms", {}))
    if "other_mask" in batch:
        share = batch["share"]
        value = share * value + (1 - share) * loss(logits, batch["other_mask"])
        others = getattr(loss, "last_terms", {})
        terms = {name: share * term + (1 - share) * others[name] for name, term in terms.items()}
    return value, terms


def partners(number: int, random: np.random.Generator) -> list[int]:
    """Return for each image of a batch another one; each is the partner of one image."""
    shift = int(random.integers(1, number))
    return [(index + shift) % number for index in range(number)]


class MixUp(Mixing):
    """Blend each image with another, and train on both masks in the same shares.

    Source: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018. As there, a batch
    has one share.

    Args:
        alpha: the share is drawn from Beta(alpha, alpha); small numbers blend little.
        p: probability that a batch is mixed.

    Raises:
        ValueError: alpha of 0 or less, or a probability out of 0..1.

    """

    def __init__(self, alpha: float = 0.2, p: float = 1.0) -> None:
        super().__init__(p)
        self.alpha = _positive("alpha", alpha)

    def mix(self, images: Tensor, masks: Tensor, random: np.random.Generator) -> Batch:
        """Return the blends, the masks of both images and the share of the first."""
        share, order = float(random.beta(self.alpha, self.alpha)), partners(len(images), random)
        pixels = images if images.is_floating_point() else images.float()
        return {"image": torch.lerp(pixels[order], pixels, share), "other_mask": masks[order], "share": share}


class CutMix(Mixing):
    """Paste a rectangle of another image at the same place, with its labels.

    Source: Yun et al., "CutMix", ICCV 2019; and for segmentation French et al., BMVC 2020. Each image has a rectangle
    of its own; since labels belong to pixels, the loss needs no shares.

    Args:
        alpha: the share of the area that stays is drawn from Beta(alpha, alpha), before the rectangle is cut off at the
            image's border.
        p: probability that a batch is mixed.

    Raises:
        ValueError: alpha of 0 or less, or a probability out of 0..1.

    """

    def __init__(self, alpha: float = 1.0, p: float = 1.0) -> None:
        super().__init__(p)
        self.alpha = _positive("alpha", alpha)

    def mix(self, images: Tensor, masks: Tensor, random: np.random.Generator) -> Batch:
        """Return images and masks with the rectangles."""
        mixed, labels = images.clone(), masks.clone()
        for index, other in enumerate(partners(len(images), random)):
            half = 0.5 * (1 - random.beta(self.alpha, self.alpha)) ** 0.5
            centre = random.random(2)
            low, high = np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
            for target, source in ((mixed, images), (labels, masks)):
                rows, columns = (
                    slice(round(first * side), round(last * side))
                    for first, last, side in zip(low, high, source.shape[-2:], strict=True)
                )
                target[index][..., rows, columns] = source[other][..., rows, columns]
        return {"image": mixed, "mask": labels}


class RICAP(Mixing):
    """Make an image of four: a piece of each, cut out anywhere, in a corner each, with its labels.

    Source: Takahashi, Matsubara, Uehara, "RICAP: Random Image Cropping and Patching", ACML 2018. As there, the pieces
    of a batch have one size and place; the first of each image is its own.

    Args:
        beta: where the four pieces meet is drawn from Beta(beta, beta), in either direction; the paper has 0.3.
        p: probability that a batch is mixed.

    Raises:
        ValueError: beta of 0 or less, or a probability out of 0..1.

    """

    def __init__(self, beta: float = 0.3, p: float = 1.0) -> None:
        super().__init__(p)
        self.beta = _positive("beta", beta)

    def mix(self, images: Tensor, masks: Tensor, random: np.random.Generator) -> Batch:
        """Return images and masks made of four pieces."""
        mixed, labels = torch.empty_like(images), torch.empty_like(masks)
        meet = random.beta(self.beta, self.beta, 2)
        for corner in range(4):
            order = partners(len(images), random) if corner else list(range(len(images)))
            where = random.random(2)
            for target, source in ((mixed, images), (labels, masks)):
                places = []
                for side, share, offset, far in zip(
                    source.shape[-2:], meet, where, (corner >= 2, corner % 2 == 1), strict=True
                ):
                    middle = round(share * side)
                    length = side - middle if far else middle
                    first = round(offset * (side - length))
                    places.append((slice(middle, side) if far else slice(0, middle), slice(first, first + length)))
                (rows, source_rows), (columns, source_columns) = places
                target[..., rows, columns] = source[..., source_rows, source_columns][order]
        return {"image": mixed, "mask": labels}


class CopyPaste(Mixing):
    """Paste all pixels of chosen classes from another image of the batch, at the same place, with their labels.

    Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation", CVPR 2021; of classes instead of
    instances. As there, sizes and places differ because both images have been scaled and cropped at random before, and
    edges are not blended.

    Args:
        classes: names of the classes to paste, such as rare ones.
        p: probability that a batch is mixed.
        image_p: probability that an image of a mixed batch is pasted onto.

    Raises:
        ValueError: no class, a name that is no class, or a probability out of 0..1.

    """

    def __init__(self, classes: list[str], p: float = 1.0, image_p: float = 0.5) -> None:
        super().__init__(p)
        if isinstance(classes, str) or not classes:
            raise ValueError(f"model.mixing: classes: {classes!r} must be a list of the classes that are pasted")
        if not 0 <= image_p <= 1:
            raise ValueError(f"model.mixing: image_p: {image_p} is no probability, 0 to 1")
        self.classes, self.image_p = list(classes), image_p
        self.labels: list[int] = []

    def set_class_names(self, names: Sequence[str]) -> None:
        """Look up the labels of the classes to paste."""
        if unknown := [name for name in self.classes if name not in names]:
            raise ValueError(f"model.mixing: classes: {', '.join(unknown)} is no class; there are {', '.join(names)}")
        self.labels = [list(names).index(name) for name in self.classes]

    def mix(self, images: Tensor, masks: Tensor, random: np.random.Generator) -> Batch:
        """Return images and masks with the pasted pixels."""
        assert self.labels, "set_class_names comes first"
        order = partners(len(images), random)
        onto = torch.from_numpy(random.random(len(images)) < self.image_p).to(masks.device)
        chosen = torch.zeros_like(masks, dtype=torch.bool)
        for label in self.labels:  # many times faster than torch.isin on a CPU
            chosen |= masks == label
        pasted = chosen[order] & onto[:, None, None]
        # where masks have a size of their own (resize_masks: false) the image takes the nearest pixel's word
        shown = pasted[:, None]
        if masks.shape[-2:] != images.shape[-2:]:
            shown = functional.interpolate(shown.float(), images.shape[-2:], mode="nearest-exact") > 0
        return {"image": torch.where(shown, images[order], images), "mask": torch.where(pasted, masks[order], masks)}


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"model.mixing: {name}: {value} must be above 0")
    return value
