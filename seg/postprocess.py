"""Labels tidied after prediction: small regions and small holes take the label of what is around them.

Both change what the network said, and are off unless asked for.
"""

import cv2
import numpy as np

Box = tuple[slice, slice]

_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)  # a pixel and those that share an edge with it


def fill_holes(labels: np.ndarray, largest: int) -> np.ndarray:
    """Return labels in which what one region encloses belongs to it.

    A hole is all that lies within a closed line of one label: whatever labels it holds, islands of the enclosing one
    and what these enclose in turn included. Of holes within holes the largest that may be filled counts.

    Args:
        labels: uint8 (H, W).
        largest: pixels that a hole may have, with all that is in it. One that touches the image's edge is no hole.

    """
    found = []
    for value in np.unique(labels):
        # what is not of this label, connected by edges alone: a diagonal line encloses
        _, others, stats, _ = cv2.connectedComponentsWithStats((labels != value).view(np.uint8), connectivity=4)
        for number, (left, top, width, height, area) in enumerate(stats.tolist()):
            inside = left > 0 and top > 0 and left + width < labels.shape[1] and top + height < labels.shape[0]
            if number and inside and area <= largest:
                box = slice(top, top + height), slice(left, left + width)
                hole = others[box] == number
                if min(width, height) > 2 and area < width * height:
                    hole = _with_islands(hole)
                    area = np.count_nonzero(hole)
                if area <= largest:
                    found.append((area, box, hole, value))
        del others  # before the next one is made: four bytes a pixel
    filled = labels.copy()
    for _, box, hole, value in sorted(found, key=lambda hole: hole[0]):
        filled[box][hole] = value
    return filled


def _with_islands(hole: np.ndarray) -> np.ndarray:
    """Return a hole (H, W) together with all that it surrounds itself."""
    around = np.pad(~hole, 1, constant_values=True)
    _, outside = cv2.connectedComponents(around.view(np.uint8), connectivity=8)
    return np.asarray(outside[1:-1, 1:-1] != outside[0, 0])


def remove_small_regions(labels: np.ndarray, smallest: int, probabilities: np.ndarray) -> np.ndarray:
    """Return labels without regions of fewer pixels: each takes the likeliest of the labels that it touches.

    The smallest region is removed first; it may make a neighbour large enough to stay. A region alone in its image
    stays as it is.

    Args:
        labels: uint8 (H, W); pixels that share an edge and a label are a region.
        smallest: pixels that a region needs to stay.
        probabilities: float (C, H, W), summed over the region to tell which label is the likeliest.

    """
    labels = labels.copy()
    for _ in range(256):  # each round removes a region at least, and nearly always all of them
        small = _small_regions(labels, smallest)
        changed = False
        for area, number, box, regions in small:
            inside = regions == number
            value = labels[box][inside][0]
            ring = cv2.dilate(inside.view(np.uint8), _CROSS).astype(bool) & ~inside
            around = np.unique(labels[box][ring])
            around = around[around != value]
            # a neighbour of this round may have taken a label and joined it
            if not len(around) or area >= smallest or (labels[box][ring] == value).any():
                continue
            likely = np.asarray(probabilities[:, *box])[around][:, inside].sum(1)
            labels[box][inside] = around[int(likely.argmax())]
            changed = True
        if not changed:
            break
    return labels


def _small_regions(labels: np.ndarray, smallest: int) -> list[tuple[int, int, Box, np.ndarray]]:
    """Return area, number, box (a pixel wider) and all numbers within it of small regions, smallest first."""
    found = []
    for value in np.unique(labels):
        _, regions, stats, _ = cv2.connectedComponentsWithStats((labels == value).view(np.uint8), connectivity=4)
        for number in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < smallest).tolist():
            left, top, width, height, area = (int(entry) for entry in stats[number])
            box = slice(max(0, top - 1), top + height + 1), slice(max(0, left - 1), left + width + 1)
            if number:
                found.append((area, number, box, regions[box].copy()))
        del regions  # before the next one is made: four bytes a pixel
    return sorted(found, key=lambda region: region[0])
