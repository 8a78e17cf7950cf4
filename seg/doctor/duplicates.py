"""Images that are there twice: the same pixels, or a picture encoded or scaled anew, or filmed a moment later."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from seg.doctor.measure import Measured

ALIKE = 0.97
"""Correlation of two thumbnails from which on they show the same."""
_BANDS = 8
_FLIPPED = 24  # bits of 128 that may differ
_SHAPE = 0.05  # relative difference of the aspect ratios that scaling to whole pixels, or a small crop, leaves
_AT_ONCE = 4096
_CROWDED = 64  # images that share a band, above which each is compared to its neighbours only


def exact(images: Sequence[Measured]) -> list[list[int]]:
    """Return groups of images, by position, that have the same pixels."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        if image.digest:
            groups[image.digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def near(images: Sequence[Measured]) -> list[tuple[int, int]]:
    """Return pairs of images, by position, that look alike but differ in their pixels.

    Only images whose perceptual hashes agree in one of 8 bands are compared: all that differ in 7 bits or fewer, and
    most that differ in more. The effort grows with the number of images, not with its square.
    """
    known = [index for index, image in enumerate(images) if image.bits is not None]
    if len(known) < 2:
        return []
    bits = np.stack([_known(images[index].bits) for index in known])
    thumbs = np.stack([normal(_known(images[index].look)) for index in known])
    shapes = np.array([_aspect(images[index]) for index in known])
    digests = [images[index].digest for index in known]

    width = bits.shape[1] // _BANDS
    found: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for position, part in enumerate(bits[:, band * width : (band + 1) * width]):
            buckets[part.tobytes()].append(position)
        for bucket in buckets.values():
            found.update(_candidates(bucket, bits))
    if not found:
        return []
    one, other = np.array(sorted(found)).T
    kept = np.unpackbits(bits[one] ^ bits[other], axis=1).sum(1) <= _FLIPPED
    kept &= np.abs(np.log(shapes[one] / shapes[other])) <= _SHAPE
    one, other = one[kept], other[kept]
    # in parts: of a film of which each frame resembles many, the thumbnails of all pairs would fill the memory
    parts = range(0, len(one), _AT_ONCE)
    likeness = [_dots(thumbs, one[start : start + _AT_ONCE], other[start : start + _AT_ONCE]) for start in parts]
    alike = np.concatenate(likeness or [np.zeros(0)]) >= ALIKE
    pairs = zip(one[alike].tolist(), other[alike].tolist(), strict=True)
    return [(known[a], known[b]) for a, b in pairs if digests[a] != digests[b]]


def groups(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return what pairs join, as groups in order."""
    parent: dict[int, int] = {}

    def top(item: int) -> int:
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in pairs:
        first, second = sorted((top(one), top(other)))
        parent[second] = first
    joined: dict[int, list[int]] = defaultdict(list)
    for item in sorted(parent):
        joined[top(item)].append(item)
    return list(joined.values())


def _candidates(bucket: list[int], bits: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yield the pairs of a bucket; of a crowded one, those that lie side by side when sorted by their whole hash."""
    reach = len(bucket)
    if reach > _CROWDED:
        bucket, reach = sorted(bucket, key=lambda position: bits[position].tobytes()), _CROWDED // 4
    for place, one in enumerate(bucket):
        for other in bucket[place + 1 : place + 1 + reach]:
            yield (one, other) if one < other else (other, one)


def _dots(thumbs: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ij,ij->i", thumbs[one], thumbs[other]))


def normal(thumb: np.ndarray) -> np.ndarray:
    """Return grey values of mean 0 and length 1, so that brightness and contrast do not matter."""
    values = thumb.astype(np.float32).ravel()
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)


def _known(array: np.ndarray | None) -> np.ndarray:
    assert array is not None
    return array


def _aspect(image: Measured) -> float:
    assert image.image_size is not None
    return image.image_size.width / image.image_size.height
