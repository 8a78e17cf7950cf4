"""What watches a run: example pictures of the test set, curves, and the lines that close it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from seg import charts, draw
from seg.loggers import CSV, WandB


class Records(Callback):
    """Tie the loggers to the run folder: rows of steps that a resumed run repeats go, W&B's run id stays.

    Args:
        folder: the run folder.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Rewind the CSV file to the step at which training starts, note W&B's run id."""
        for logger in trainer.loggers:
            if isinstance(logger, CSV):
                logger.rewind(trainer.global_step)
            if isinstance(logger, WandB):
                logger.remember(self.folder)


class Examples(Callback):
    """Draw example pictures while testing: image · truth · prediction · where they differ.

    Args:
        folder: where the PNG files go.
        number: how many, evenly spread over the test set.

    """

    def __init__(self, folder: Path, number: int = 8) -> None:
        self.folder = folder
        self.number = number
        self.wanted: set[int] = set()
        self.seen = 0

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the images."""
        total = sum(int(batches) for batches in trainer.num_test_batches)
        self.wanted = set(np.linspace(0, max(0, total - 1), self.number).round().astype(int).tolist())
        self.seen = 0

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first image of the chosen batches."""
        if batch_idx not in self.wanted or not trainer.is_global_zero:
            return
        truth, prediction = (batch["mask"][0].cpu().numpy(), outputs[0].cpu().numpy())
        name = str(batch["id"][0]).replace("/", "_").replace("\\", "_")
        picture = draw.example(
            image_at(visible(batch["image"][:1], pl_module)[0], truth.shape),
            truth,
            prediction.astype(np.uint8),
            pl_module.hparams["class_names"],
            pl_module.hparams["class_colors"],
            title=name,
        )
        draw.save(self.folder / f"{name}.png", picture)


def visible(images: Tensor, task: Any) -> Tensor:
    """Return raw images (B, N, H, W) so that `draw.rgb` shows them well: all but 8-bit ones clipped and normalised."""
    return images if images.dtype == torch.uint8 else torch.as_tensor(task.normalize(images))


def image_at(image: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """Return an image (N, h, w) as uint8 (H, W, 3) of a mask's size, for pictures."""
    array = draw.rgb(image.permute(1, 2, 0).cpu().numpy())
    if array.shape[:2] == tuple(size):
        return array
    return np.asarray(Image.fromarray(array).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def draw_curves(logger: CSV, path: Path) -> bool:
    """Draw losses, scores and learning rate of a run from its CSV rows; returns whether there was anything to draw."""
    series = logger.series()
    wanted = {
        "loss": ("train/loss", "val/loss"),
        "scores": ("val/miou", "val/pixel_accuracy", "val/mean_accuracy"),
        "learning rate": tuple(name for name in series if name.startswith("lr/")),
    }
    panels = {title: {name: series[name] for name in names if name in series} for title, names in wanted.items()}
    if not any(panels.values()):
        return False
    draw.save(path, charts.curves(panels))
    return True
