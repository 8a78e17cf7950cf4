"""Noticing masks in which 255 is an object, before a network learns to see nothing but background."""

import contextlib
import logging
from collections.abc import Sequence

import numpy as np

from seg.data.classes import IGNORE
from seg.data.dataset import Pair, Reader
from seg.data.images import Labels

logger = logging.getLogger(__name__)

LOOKED_AT = 8


def warn_of_ignored_objects(pairs: Sequence[Pair], labels: Labels, reader: Reader) -> None:
    """Warn where masks hold 0 and 255 alone, and 255 is ignored: that is how many tools write one kind of object.

    Args:
        pairs: files of the training split; 8 masks among them are looked at.
        labels: what the values in the masks mean.
        reader: how files become pixels.

    """
    if IGNORE in labels.label_map:
        return
    values: set[int] = set()
    for pair in pairs[:: -(-len(pairs) // LOOKED_AT) or 1]:
        with contextlib.suppress(ValueError, OSError):  # told by whoever needs the file
            values.update(np.unique(reader.mask(pair)).tolist())
    if values == {0, IGNORE}:
        logger.warning(
            "the masks that were looked at, such as %s, hold nothing but 0 and 255, and 255 is ignored: only class 0 "
            "would be learnt. If 255 is an object, say label_map: {255: 1}",
            pairs[0].mask,
        )
