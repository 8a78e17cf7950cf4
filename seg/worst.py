"""Finding the images that a network goes worst on."""

import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from seg.files import replacing
from seg.metrics import image_iou, worst_table


class WorstImages(Callback):
    """List the images of a test or validation by their own IoU, worst first; `seg score --worst` does so for masks.

    Args:
        number: how many to print.
        file: a CSV file for the figures of all images: name, mean, and the IoU of each class.

    """

    def __init__(self, number: int = 10, file: str | None = None) -> None:
        if number < 1:
            raise ValueError(f"number: {number}, but at least 1 image is listed")
        self.number = number
        self.file = file
        self.images: list[tuple[str, Tensor]] = []

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Note the IoU of the images of a batch."""
        classes, ignore_index = len(pl_module.class_names), pl_module.ignore_index
        found = image_iou(outputs, batch["mask"], classes, ignore_index, pl_module.include_background)
        self.images += zip(map(str, batch["id"]), found, strict=True)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Print the list, of the images of all processes."""
        parts: list[Any] = [self.images]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            dist.all_gather_object(parts, self.images)
        images, self.images = [image for part in parts for image in part], []
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        print("\n" + worst_table(images, self.number), flush=True)
        if self.file is not None:
            with replacing(Path(self.file)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["image", "mean", *pl_module.class_names])
                for name, iou in sorted(images, key=lambda image: (float(image[1].nanmean()), image[0])):
                    writer.writerow(
                        [name, *("" if v != v else f"{v:.6f}" for v in (float(iou.nanmean()), *iou.tolist()))]
                    )

    def on_validation_batch_end(self, *arguments: Any) -> None:
        """Note the IoU of the images of a batch."""
        self.on_test_batch_end(*arguments)

    def on_validation_epoch_end(self, *arguments: Any) -> None:
        """Print the list."""
        self.on_test_epoch_end(*arguments)
