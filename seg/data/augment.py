"""Run a list of albumentations classes on image and mask: seeded for each sample, and unable to invent labels."""

import inspect
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import albumentations as A
import cv2
import numpy as np
from albumentations.augmentations.dropout.transforms import BaseDropout

from seg.data.classes import IGNORE
from seg.data.pixels import Pixels

Transform: TypeAlias = A.BasicTransform | A.BaseCompose

RGB = Pixels()
_PROBE_LABELS = (40, 200)
_PROBE_SIZES = ((192, 256), (768, 1024), (2304, 2560))
_PROBE_DRAWS = 12


@runtime_checkable
class Suited(Protocol):
    """A transform that wants to know the statistics of the data, in the files' values."""

    def suit(self, mean: Sequence[float], std: Sequence[float], whole: bool) -> None:
        """Take mean and standard deviation of every band, and whether values are whole numbers."""


class Augment:
    """Apply transforms to an image and its mask; what is drawn depends on the sample's numbers alone.

    All transforms of a list share one stream of random numbers. (`Compose.set_random_seed` would give each the same
    stream, and thereby flip only those images that are also jittered.)

    Args:
        transforms: albumentations classes, in order. Their fill value for masks is set to 255; the list is then tried
            out, one class at a time, so that none can give a label that was not there.
        seed: decides, together with epoch and position, what is drawn.
        pixels: what the images are.

    Raises:
        ValueError: a transform that fills masks with a class, mixes labels, changes masks where it should change
            colours only, gives something else than an image of the same kind, or takes values to lie in 0..255 or
            0..1 where they do not. It names the transform and the cure.

    """

    def __init__(self, transforms: Sequence[Transform], seed: int = 0, pixels: Pixels = RGB) -> None:
        self.transforms = list(transforms)
        self.seed = seed
        for transform in leaves(self.transforms):
            _fill_masks_with_ignore(transform)
            if isinstance(transform, Suited):
                transform.suit(pixels.mean, pixels.std, whole=pixels.dtype != "float32")
            _probe(transform, pixels)

    def __call__(self, image: np.ndarray, mask: np.ndarray, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the changed image, (H, W, N), and mask, uint8 (H, W)."""
        data = {"image": image, "mask": mask}
        generator = np.random.default_rng([self.seed, epoch, position])
        python = random.Random(int(generator.integers(2**63)))
        for transform in self.transforms:
            transform.set_random_state(generator, python)
            data = transform(**data)
        return data["image"], data["mask"]


def leaves(transforms: Sequence[Transform]) -> Iterator[A.BasicTransform]:
    """Iterate over the transforms of a list, and over those inside OneOf, Sequential and other groups."""
    for transform in transforms:
        if isinstance(transform, A.BaseCompose):
            yield from leaves(transform.transforms)
        elif isinstance(transform, A.BasicTransform):
            yield transform
        else:
            raise ValueError(
                f"augment: {transform!r} is not an albumentations transform; give class_path and init_args of one, "
                "for example class_path: albumentations.HorizontalFlip"
            )


def _fill_masks_with_ignore(transform: A.BasicTransform) -> None:
    """Set what a geometric transform puts where the mask has nothing; refuse what could only be a mistake."""
    name = type(transform).__name__
    nearest = (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT)
    if getattr(transform, "mask_interpolation", cv2.INTER_NEAREST) not in nearest:
        raise ValueError(
            f"augment: {name} interpolates masks, which invents labels between two classes; "
            "leave out mask_interpolation (0, nearest, is what masks need)"
        )
    # Cutting out is a choice: leave the labels and let the network guess (None), or do not score the hole (255).
    hides = isinstance(transform, BaseDropout)
    for setting in ("fill_mask", "mask_drop_value"):
        if not hasattr(transform, setting):
            continue
        value = getattr(transform, setting)
        chosen = {float(number) for number in np.atleast_1d(value)} if value is not None else {None}
        if hides or setting == "mask_drop_value":
            allowed, cure = [{None}, {float(IGNORE)}], f"{IGNORE} to ignore them, or leave it out to keep their labels"
        else:
            allowed, cure = [{None}, {0.0}, {float(IGNORE)}], f"{IGNORE}, or leave it out: it is set to {IGNORE}"
        if chosen not in allowed:
            raise ValueError(f"augment: {name} gives hidden pixels of masks the label {value}; set {setting}: {cure}")
        if not hides and setting == "fill_mask":
            transform.fill_mask = IGNORE


def _probe(transform: A.BasicTransform, pixels: Pixels) -> None:
    """Try a transform on masks of two labels, with several random numbers, and look at what comes out."""
    name = type(transform).__name__
    state = transform.random_generator, transform.py_random
    error: Exception | None = None
    for size in _PROBE_SIZES:  # a crop needs an image that is larger
        try:
            for draw in range(_PROBE_DRAWS):
                _probe_once(transform, size, draw, name, pixels)
            if pixels.dtype != "uint8" and isinstance(transform, A.ImageOnlyTransform):
                _probe_range(transform, size, name, pixels)
            break
        except _BadTransformError:
            raise
        except Exception as caught:  # whatever a transform raises on an image that does not suit it
            error = caught
    else:
        raise ValueError(f"augment: {name} fails on an image of {_kind(pixels)} with a mask: {error}") from error
    transform.set_random_state(*state)


class _BadTransformError(ValueError):
    """A transform that must not be used on masks."""


def _probe_range(transform: A.BasicTransform, size: tuple[int, int], name: str, pixels: Pixels) -> None:
    """Refuse a transform of values that depends on their range: twice the values must become twice the result."""
    if isinstance(transform, Suited):
        return
    mask = np.zeros(size, np.uint8)
    small = np.random.default_rng(0).integers(500, 1000, (*size, pixels.bands)).astype(pixels.dtype)
    for draw in range(_PROBE_DRAWS):
        results = []
        for image in (small, 2 * small):
            transform.set_random_state(np.random.default_rng(draw), random.Random(draw))
            results.append(transform(image=image, mask=mask, force_apply=True)["image"].astype(np.float64))
        if np.abs(results[1] - 2 * results[0]).max() > (0.05 if pixels.dtype == "float32" else 4):  # rounding
            raise _BadTransformError(
                f"augment: {name} takes pixel values to lie in a fixed range, and images of {_kind(pixels)} have their "
                "own; take seg.data.transforms.BandJitter, or leave it out"
            )


def _kind(pixels: Pixels) -> str:
    return f"{pixels.bands} bands of {pixels.dtype}"


def _probe_once(transform: A.BasicTransform, size: tuple[int, int], draw: int, name: str, pixels: Pixels) -> None:
    generator = np.random.default_rng(draw)
    image = generator.integers(0, 256, (*size, pixels.bands), dtype=np.uint8).astype(pixels.dtype)
    mask = np.full(size, _PROBE_LABELS[0], np.uint8)
    mask[:: 2 + draw] = mask[:, : size[1] // 3] = _PROBE_LABELS[1]  # fine stripes show interpolation
    transform.set_random_state(generator, random.Random(draw))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = transform(image=image, mask=mask.copy(), force_apply=True)
    new_image, new_mask = data["image"], data["mask"]
    same = isinstance(new_image, np.ndarray) and new_image.dtype == image.dtype
    if not same or new_image.shape[2:] != (pixels.bands,):
        raise _BadTransformError(
            f"augment: {name} does not give a {pixels.dtype} image of {pixels.bands} channels; leave it out: images "
            "are normalised and become tensors after augmentation, on the device (see mean and std)"
        )
    if isinstance(transform, A.ImageOnlyTransform) and not np.array_equal(mask, new_mask):
        raise _BadTransformError(f"augment: {name} changes colours, and masks with them; take another transform")
    if not isinstance(new_mask, np.ndarray) or new_mask.dtype != np.uint8 or new_mask.shape != new_image.shape[:2]:
        found = getattr(new_mask, "shape", type(new_mask))
        raise _BadTransformError(
            f"augment: {name} gives a mask that does not fit its image ({found} for {new_image.shape[:2]}); "
            "take another transform"
        )
    if invented := sorted(set(np.unique(new_mask).tolist()) - {*_PROBE_LABELS, IGNORE}):
        settings = inspect.signature(type(transform)).parameters
        cure = next((f"set its {word}" for word in ("fill_mask", "border_mode") if word in settings), None)
        raise _BadTransformError(
            f"augment: {name} gives masks labels that were not there ({invented[:5]} in a mask of {_PROBE_LABELS}) and "
            f"would train on them as classes; {cure or 'leave it out'}, or take another transform"
        )
