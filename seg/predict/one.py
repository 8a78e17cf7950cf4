"""One image's prediction, gathered from its rows: what the files that are written of it need, and no more."""

import itertools
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from seg.infer import Predictor
from seg.predict.kinds import Predicted
from seg.predict.visible import Visible

IN_MEMORY = 1 << 28
"""Bytes of probabilities that are kept in memory; those of larger images go to a file."""


class Wanted(NamedTuple):
    """What is needed beside labels: maps of confidence and entropy, all probabilities, the image itself."""

    certainty: bool = False
    probabilities: bool = False
    visible: bool = False


def predicted(
    predictor: Predictor, path: Path, image: np.ndarray, wanted: Wanted, target: Path | None = None, bar: Any = None
) -> Predicted:
    """Predict an image.

    Args:
        predictor: asked for the rows of the image.
        path: of the image.
        image: (H, W, N) as read.
        wanted: what is gathered.
        target: a file beside which many probabilities are kept; in memory where not given.
        bar: of tqdm, told how much of a large image is done.

    """
    height, width = image.shape[:2]
    network, classes = predictor.network, len(predictor.network.class_names)
    result = Predicted(
        path,
        Visible(image, network) if wanted.visible else None,
        np.empty((height, width), np.uint8),
        network.class_names,
        network.class_colors,
    )
    if wanted.certainty:
        result.confidence, result.entropy = (np.empty((height, width), np.uint8) for _ in range(2))
    store = Store((classes, height, width), target) if wanted.probabilities else None
    try:
        for answer in predictor.answers(image):
            rows = slice(answer.top, answer.top + len(answer.labels))
            result.labels[rows] = answer.labels
            if wanted.certainty or store:
                probabilities = predictor.probabilities(answer.scores)
            if result.confidence is not None and result.entropy is not None:
                confidence = probabilities.amax(0)
                entropy = torch.special.entr(probabilities).sum(0) / math.log(classes)
                # sums of some rows are exact enough in float32, and Apple's GPUs have no other
                result.certainty += float(confidence.sum()) / (height * width)
                result.doubt += float(entropy.sum()) / (height * width)
                result.confidence[rows], result.entropy[rows] = _bytes(confidence), _bytes(entropy)
            if store:
                store.put(answer.top, probabilities.cpu().numpy())
            if bar is not None and rows.stop < height:
                bar.set_postfix_str(f"{path.name} {rows.stop / height:.0%}")
            del answer
    except BaseException:
        if store:
            store.discard()
        raise
    result.probabilities = store.close() if store else None
    return result


def _bytes(values: torch.Tensor) -> np.ndarray:
    return values.mul(255).round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()


_NUMBERS = itertools.count()  # images of one name may be kept beside each other


class Store:
    """Keep probabilities float32 (C, H, W) as they come, rows at a time: in memory, or where they are many, in a file.

    Args:
        shape: of all.
        target: a file beside which one is made; in memory where not given.

    """

    def __init__(self, shape: tuple[int, int, int], target: Path | None) -> None:
        self.shape = shape
        self.memory: np.ndarray | None = None
        self.path: Path | None = None
        if target is None or 4 * math.prod(shape) <= IN_MEMORY:
            self.memory = np.empty(shape, np.float32)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path = target.with_name(f".{target.stem}.{os.getpid()}.{next(_NUMBERS)}.probabilities.npy")
        self.file = open(self.path, "wb")  # noqa: SIM115 (closed by `close` and `discard`)
        head = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, head)
        self.start = self.file.tell()

    def put(self, top: int, rows: np.ndarray) -> None:
        """Take the probabilities (C, h, W) of the rows from `top` on."""
        if self.memory is not None:
            self.memory[:, top : top + rows.shape[1]] = rows
            return
        # not through a memory map, whose pages would count as the process's own
        _, height, width = self.shape
        for number, band in enumerate(rows):
            self.file.seek(self.start + 4 * width * (number * height + top))
            self.file.write(np.ascontiguousarray(band).data)

    def close(self) -> np.ndarray | Path:
        """Return the array, or the file that holds it."""
        if self.memory is not None:
            return self.memory
        assert self.path is not None
        self.file.close()
        return self.path

    def discard(self) -> None:
        """Remove the file."""
        if self.path is not None:
            self.file.close()
            self.path.unlink(missing_ok=True)
