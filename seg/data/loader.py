"""The training loader, which a checkpoint can stop in the middle of an epoch and start again at the same batch.

And what all loaders have in common: their workers, and the size that a batch gets once it is on the device.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch.nn import functional
from torch.utils.data import DataLoader

from seg.data.dataset import collate, start_worker
from seg.data.sampling import TrainingOrder


class TrainingLoader(DataLoader[Any]):
    """Load training batches, beginning an epoch where the progress of the run says.

    The epoch's first batch is asked for when it is needed, not when the iterator is made: in between, Lightning tells
    the sampler the epoch of a resumed run, and how far that epoch had come.

    Args:
        begin: returns the number of batches of the epoch that are done already.
        **options: see `torch.utils.data.DataLoader`.

    """

    sampler: TrainingOrder

    def __init__(self, *args: Any, begin: Callable[[], int] = lambda: 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self.begin = begin

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.sampler.start = self.begin() * (self.batch_size or 1)
        yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the loops' own progress tells where the epoch stands; this says that it can be resumed."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing, see `state_dict`."""


def loading(num_workers: int | Literal["auto"], processes: int, context: str | None, seed: int) -> dict[str, Any]:
    """Return the options of every loader of a data module.

    Args:
        num_workers: workers of a loader; auto is one a core, at most 8.
        processes: processes of this machine that train together and share its cores.
        context: how workers start; None is the platform's own way.
        seed: of the data module.

    """
    if isinstance(num_workers, int):
        workers = num_workers
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = min(cores // processes, 8) if cores > 1 else 0
    return {
        "num_workers": workers,
        "collate_fn": collate,
        "worker_init_fn": start_worker,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "multiprocessing_context": context if workers else None,
        # a stream of its own: making an iterator must not move the one that dropout draws from
        "generator": torch.Generator().manual_seed(seed),
    }


def resized(batch: dict[str, Any], factor: float) -> dict[str, Any]:
    """Return a batch whose images (bilinear) and masks (nearest) have another size; images become floats.

    Args:
        batch: image (B, N, H, W), mask (B, h, w), and whatever else there is, which stays.
        factor: of both sides of both.

    """
    if factor == 1:
        return batch
    images, masks = batch["image"], batch["mask"]
    size, mask_size = ([max(1, round(side * factor)) for side in array.shape[-2:]] for array in (images, masks))
    return {
        **batch,
        "image": functional.interpolate(images.float(), size, mode="bilinear", align_corners=False),
        "mask": functional.interpolate(masks[:, None], mask_size, mode="nearest-exact")[:, 0],
    }
