"""What `fit` looks at by itself before the first step: whole files, masks of their image's size, labels of classes.

What was found good is kept beside the data set by the files' fingerprints, so that later runs look at new files alone.
"""

import json
import logging
import os
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer

from seg.data.base import SegmentationData
from seg.data.cache import disk_folder, fingerprint
from seg.data.dataset import Pair, Pairs
from seg.data.images import refuse_two_sizes
from seg.data.labelme import Labelme
from seg.files import replacing
from seg.predict.annotations import unseen

logger = logging.getLogger(__name__)

MOST = 5000
"""Pairs of a split that are looked at, evenly chosen, where there are more: a matter of seconds, not minutes."""
_SHOWN = 8
_ENDS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


class QuickCheck(Callback):
    """Look at the files that a fit reads before it starts; `data.check: false` leaves this out."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse files that would end the training later.

        Raises:
            ValueError: naming files and reasons.

        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and trainer.is_global_zero and isinstance(data, SegmentationData) and data.check:
            check(data)


def check(data: SegmentationData) -> int:
    """Look at the files of all splits that are set up, those that are not known to be good.

    Returns:
        the number of pairs that were looked at.

    Raises:
        ValueError: naming files and reasons.

    """
    begin = time.monotonic()
    reader, labels = data._reader(), data.labels
    settings = (labels.num_classes, sorted(labels.label_map.items()), reader.settings())
    kept = disk_folder(data.root) / f"checked-{fingerprint(settings, [])}.json"
    good = set(json.loads(kept.read_text(encoding="utf-8"))) if kept.is_file() else set()
    chosen = {pair: dataset for dataset in data.datasets.values() for pair in _chosen(dataset.pairs)}
    keys = {pair: fingerprint(pair.id, reader.files(pair)) for pair in chosen}
    todo = [pair for pair in chosen if keys[pair] not in good]
    _tell_predictions(data, chosen)
    if not todo:
        return 0
    with ThreadPoolExecutor(
        min(os.cpu_count() or 1, 8)
    ) as pool:  # threads: decoding, which takes the time, needs no lock
        reasons = list(pool.map(lambda pair: reason_against(pair, chosen[pair]), todo))
    good.update(keys[pair] for pair, reason in zip(todo, reasons, strict=True) if not reason)
    with replacing(kept) as temporary:
        temporary.write_text(json.dumps(sorted(good)), encoding="utf-8")
    if bad := [reason for reason in reasons if reason]:
        listed = "\n  ".join(bad[:_SHOWN]) + (f"\n  … and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
        raise ValueError(
            f"{len(bad)} of {len(todo)} images with masks cannot be used:\n  {listed}\n"
            "`seg doctor data`, with the same config and settings, shows them all, with pictures; data.check: false "
            "trains until the first of them is read"
        )
    total = sum(len(dataset.pairs) for dataset in data.datasets.values())
    part = f" (of {total}; seg doctor data looks at all)" if total > len(chosen) and len(chosen) >= MOST else ""
    print(
        f"looked at {len(todo)} images with masks{part} in {time.monotonic() - begin:.1f} s: all can be used",
        flush=True,
    )
    return len(todo)


def _tell_predictions(data: SegmentationData, pairs: Collection[Pair]) -> None:
    """Warn of annotations that `seg predict` wrote and nobody has looked at: a score against them means nothing."""
    if isinstance(data, Labelme) and (found := [pair.mask for pair in pairs if unseen(Path(pair.mask))]):
        logger.warning(
            "%d of %d annotations are predictions that nobody has saved since, such as %s: they train and score as "
            "truth. Correct them in labelme (change the flag `uncertain` of those that are right, and save), or take "
            "them out",
            len(found),
            len(pairs),
            found[0],
        )


def reason_against(pair: Pair, dataset: Pairs) -> str:
    """Return why a pair cannot be used, nothing where it can; its image is decoded only if its end looks damaged."""
    reader = dataset.reader
    try:
        mask = reader.mask(pair)
        refuse_two_sizes(np.broadcast_to(np.uint8(0), reader.size(pair)), mask, pair.image, pair.mask)
        dataset.labels.apply(mask, pair.mask)
        if not _ends_well(pair.image):
            reader.image(pair)
    except Exception as error:  # whatever a damaged file makes a decoder raise would end the training as well
        return str(error) or type(error).__name__
    return ""


def _chosen(pairs: Sequence[Pair]) -> Sequence[Pair]:
    return pairs[:: -(-len(pairs) // MOST) or 1]


def _ends_well(path: str) -> bool:
    end = _ENDS.get(os.path.splitext(path)[1].lower(), b"")
    with open(path, "rb") as file:
        file.seek(-min(12, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read().endswith(end)
