"""Check that image and mask go through resizing and augmentation together, and that no label is invented."""

from collections.abc import Iterator

import cv2
import numpy as np

from seg.data.classes import IGNORE
from seg.data.dataset import Pair, Pairs, Reader
from seg.data.images import Labels, resize_mask
from seg.doctor.checks.overfit import with_reader
from seg.doctor.findings import Finding, Place, counted
from seg.doctor.setup import Setup
from seg.draw import fit_size, frame, grid, legend, overlay, rgb, stack

LOW, HIGH = 40, 200
"""The two labels of the masks that are tried: far apart, so that any mixture of them is neither."""
TRIED = 24
"""Samples that are tried."""
SHOWN = 6
"""Samples that the picture shows."""
AGREE, ALMOST = 0.8, 0.95
"""Share of the pixels away from outlines in which mask and image show the same. Together they agree in nearly all, but
for holes that an augmentation cuts; a flip of one of them leaves about half."""
_EDGE = 2  # pixels beside an outline, where an image is a mixture
_LEAST = 0.02  # share of the pixels that each label must have for a sample to tell anything


def augmentation(setup: Setup) -> Iterator[Finding]:
    """Send masks through the pipeline as images too, and compare what comes out of both."""
    dataset = setup.data.datasets["train"]
    tried = with_reader(dataset, _MaskAsImage, labels=Labels(IGNORE))
    reader = tried.reader
    assert isinstance(reader, _MaskAsImage)
    reader.meaning, reader.like = dataset.labels, dataset
    invented: list[Place] = []
    agreements: list[float] = []
    for position in range(min(TRIED, max(8, len(dataset)))):
        index = position % len(dataset)
        sample = tried[(position // len(dataset), position, index)]  # type: ignore[index]
        image, mask = sample["image"].permute(1, 2, 0).numpy(), sample["mask"].numpy()
        if strange := sorted(set(np.unique(mask).tolist()) - {LOW, HIGH, IGNORE}):
            note = f"labels {', '.join(map(str, strange[:6]))} in a mask of {LOW} and {HIGH}"
            invented.append(Place(dataset.pairs[index].id, note))
        elif (share := agreement(image, mask)) is not None:
            agreements.append(share)
    setup.pictures["augmentation"] = _picture(setup)
    if invented:
        yield Finding(
            "augmentation",
            "fail",
            f"{counted(len(invented), 'sample')} have labels after resizing and augmentation that were not there "
            "before: masks are interpolated, or filled",
            "masks need nearest neighbour (cv2.INTER_NEAREST, mask_interpolation: 0) and a fill of 255",
            invented,
        )
        return
    if not agreements:
        yield Finding(
            "augmentation", "skip", "no sample shows enough of two classes to tell whether mask and image agree"
        )
        return
    share = float(np.median(agreements))
    setup.figures["augmentation"] = {"agreement": share, "samples": len(agreements)}
    text = f"after augmentation, mask and image agree in {100 * share:.1f} % of the pixels ({len(agreements)} samples)"
    if share < AGREE:
        cure = "every geometric transform must change both, with one drawing of its random numbers"
        yield Finding("augmentation", "fail", f"{text}: they are not moved together", cure)
    elif share < ALMOST:
        cure = "look at the picture; holes (dropout) and distortions of the image alone do this too"
        yield Finding("augmentation", "warn", text, cure)
    else:
        yield Finding("augmentation", "pass", text)


class _MaskAsImage(Reader):
    """Give masks of two labels, and the same as image."""

    meaning: Labels
    like: Pairs

    def both(self, pair: Pair, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
        """Return the mask as an image of the data set's kind, and the mask."""
        known = self.meaning.apply(self.mask(pair), pair.mask)
        counts = np.bincount(known.ravel(), minlength=256)
        counts[IGNORE] = 0
        mask = np.where(known == counts.argmax(), LOW, HIGH).astype(np.uint8)
        pixels = self.like.pixels
        # in the middle of the values that augmentation expects, a good step apart
        step = np.asarray(pixels.std, np.float64) * np.where(mask == LOW, -1.0, 1.0)[..., None]
        image = np.asarray(pixels.mean, np.float64) + step
        if pixels.dtype != "float32":
            image = image.round().clip(0, np.iinfo(pixels.dtype).max)
        return image.astype(pixels.dtype), mask


def agreement(image: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the share of pixels whose image value is nearer to the typical one of their own label.

    Args:
        image: (h, w, N), made from the mask, changed in colour.
        mask: uint8 (H, W) of two labels and 255.

    Returns:
        None where the mask shows too little of either label.

    """
    mask = resize_mask(mask, (image.shape[0], image.shape[1])) if mask.shape != image.shape[:2] else mask
    kernel = np.ones((2 * _EDGE + 1,) * 2, np.uint8)
    inside = (cv2.dilate(mask, kernel) == cv2.erode(mask, kernel)) & (mask != IGNORE)
    values = image.astype(np.float64)
    groups = [values[inside & (mask == label)] for label in (LOW, HIGH)]
    if min(len(group) for group in groups) < _LEAST * mask.size:
        return None
    low, high = (np.median(group, axis=0) for group in groups)
    if np.allclose(low, high):
        return 0.5  # the image shows the same for both labels: as good as guessing
    nearer = [((group - low) ** 2).sum(1) < ((group - high) ** 2).sum(1) for group in groups]
    return float((nearer[0].mean() + (~nearer[1]).mean()) / 2)


def _picture(setup: Setup) -> np.ndarray:
    """Return augmented training samples with the outlines and colours of their masks."""
    data, dataset = setup.data, setup.data.datasets["train"]
    indices = np.linspace(0, len(dataset) - 1, SHOWN).astype(int)
    shown = []
    for position, index in enumerate(indices):
        sample = dataset[(0, position, int(index))]  # type: ignore[index]
        image, mask = rgb(sample["image"].permute(1, 2, 0).numpy()), sample["mask"].numpy()
        if mask.shape != image.shape[:2]:
            image = cv2.resize(image, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        shown.append(fit_size(overlay(image, mask, data.class_colors, alpha=0.35), largest=320))
    pictures = grid(shown, columns=3)
    return frame(stack([pictures, legend(data.class_names, data.class_colors, pictures.shape[1])]))
