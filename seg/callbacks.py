"""What watches a run: its loggers and its config.yaml, example pictures of the test set, curves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from PIL import Image
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import SaveConfigCallback
from torch import Tensor

from seg import charts, draw
from seg.files import replacing, short_name
from seg.loggers import CSV, RunLogger
from seg.loggers.csv import finite_points, unless_disk_fails
from seg.provenance import facts, flatten


class Records(Callback):
    """Begin the loggers at the step at which training starts; at its end, let them keep the best checkpoint."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin, or go on where a resumed run does: rows of steps that it repeats go."""
        for logger in run_loggers(trainer):
            logger.begin(trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the loggers keep the best checkpoint that want it."""
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        for logger in run_loggers(trainer):
            if best and trainer.is_global_zero:
                logger.keep(Path(best))


def run_loggers(trainer: pl.Trainer) -> list[RunLogger]:
    """Return the loggers of a run that take pictures, tables and facts."""
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]


def record(trainer: pl.Trainer, config: Path) -> None:
    """Tell the loggers the settings of a config file, and code, environment and data set of the run."""
    settings, found = flatten(yaml.safe_load(config.read_text(encoding="utf-8"))), facts(trainer)
    for logger in run_loggers(trainer):
        logger.record(settings, found)


class SaveConfig(SaveConfigCallback):
    """Write config.yaml once training starts: a resumed run whose checkpoint does not fit must not replace it."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file, whole or not at all, and tell the loggers what it says."""
        if not trainer.is_global_zero:
            return
        path = Path(trainer.loggers[0].save_dir or ".") / "config.yaml"
        with replacing(path) as temporary:
            self.parser.save(self.config, str(temporary), skip_unset=False, overwrite=True, multifile=False)
        record(trainer, path)

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Do nothing at set-up, see `on_train_start`."""


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
        path = self.folder / f"{short_name(name)}.png"
        picture = draw.example(
            image_at(visible(batch["image"][:1], pl_module)[0], truth.shape),
            truth,
            prediction.astype(np.uint8),
            pl_module.hparams["class_names"],
            pl_module.hparams["class_colors"],
            title=name,
        )
        with unless_disk_fails(path):
            draw.save(path, picture)


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
    panels = {
        title: {name: points for name in names if (points := finite_points(series, name))}
        for title, names in wanted.items()
    }
    if not any(panels.values()):
        return False
    with unless_disk_fails(path):
        draw.save(path, charts.curves(panels))
    return True
