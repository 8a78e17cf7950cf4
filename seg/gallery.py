"""What a run shows of itself while it goes on: the same images at every validation, the worst ones at the end.

Pictures, charts and tables go to every logger of seg alike (the run folder, W&B, TensorBoard), from the first process,
which draws images that it has itself validated. Drawing is kept to a small share of the time that training takes.
"""

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from seg import charts, draw
from seg.callbacks import image_at, run_loggers, visible
from seg.choice import ImageCounts, choose, image_counts
from seg.draw import IGNORE
from seg.files import replacing
from seg.loggers import Masks

LARGEST = 360
"""Longer side of a panel in pixels: what every validation writes and perhaps uploads stays small."""


class Gallery(Callback):
    """Show the same images after every validation of a fit, scores per class, and the worst images of the test.

    Chosen at the first validation and kept in the run folder's gallery.json, also when the run is resumed: the image
    with the lowest mean IoU of its own classes, the median one, and for each rare class the image with most of it.

    Args:
        folder: the run folder; the choice is kept there. The command line places it.
        number: images that are shown, and worst images of the test.
        share: drawing may take this share of the training's time; validations are left out where it would take more.
            The first images are always shown, and so is the test. 1 leaves out nothing.
        listed: images of the test in the table of predictions at most, worst first.

    Raises:
        ValueError: a number below 1, or a share that is not above 0.

    """

    def __init__(self, folder: str | Path = ".", number: int = 8, share: float = 0.02, listed: int = 1000) -> None:
        if number < 1 or listed < 1:
            raise ValueError(f"number: {number}, listed: {listed}, but at least 1 image is shown")
        if not share > 0:
            raise ValueError(f"share: {share}, but a share above 0 is expected, such as 0.02")
        self.place(folder)
        self.number, self.share, self.listed = number, share, listed
        self.chosen: dict[str, str] = {}
        self.counts: list[ImageCounts] = []
        self.samples: dict[str, Any] = {}
        self.started, self.spent, self.last = time.monotonic(), 0.0, 0.0
        self.drawn, self.drawn_once, self.chart_seconds = False, False, 1.0

    def place(self, folder: str | Path) -> None:
        """Keep the choice of images in a run folder."""
        self.path = Path(folder) / "gallery.json"

    # -- while training -----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the choice of a run that is resumed."""
        self.started, self.spent, self.last, self.drawn_once = time.monotonic(), 0.0, 0.0, False
        if self.path.is_file():
            try:
                chosen = json.loads(self.path.read_text(encoding="utf-8"))
                self.chosen = {str(role): str(name) for role, name in chosen.items()}
            except (OSError, ValueError, AttributeError):
                self.chosen = {}  # damaged: chosen anew

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget what an interrupted validation has counted."""
        self.counts, self.drawn = [], False

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count the images until they are chosen; draw the chosen ones with the last batch.

        With the batch, and not afterwards: callbacks that average weights have theirs in the network until then.
        """
        if not _fitting(trainer) or not trainer.is_global_zero or not _draws_alone(trainer):
            return
        begun = time.monotonic()
        if not self.chosen:
            self.counts += counted(pl_module, batch["id"], outputs, batch["mask"])
        if batch_idx + 1 == trainer.num_val_batches[dataloader_idx]:
            if not self.chosen:
                self.chosen = choose(self.counts, pl_module.class_names, self.number)
                with replacing(self.path) as temporary:
                    temporary.write_text(json.dumps(self.chosen, indent=2, ensure_ascii=False), encoding="utf-8")
            if self.affords(begun):
                self.drawn = self.drawn_once = True
                for role, name in self.chosen.items():
                    self.show(trainer, pl_module, f"gallery/{role}", "val", name)
                self.last = time.monotonic() - begun
        self.spent += time.monotonic() - begun

    def affords(self, now: float) -> bool:
        """Tell whether drawing once more, as long as it took last time, stays within the share of the time."""
        within = self.spent + self.last <= self.share * (now - self.started)
        return not self.drawn_once or self.share >= 1 or within

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draw the charts of the scores, once there is time for them: the first ones load matplotlib."""
        begun = time.monotonic()
        within = self.share >= 1 or self.spent + self.chart_seconds <= self.share * (begun - self.started)
        if not _fitting(trainer) or not trainer.is_global_zero or not self.drawn or not within:
            return
        self.show_charts(trainer, pl_module, "val")
        self.chart_seconds = time.monotonic() - begun
        self.spent += self.chart_seconds

    # -- at the end ---------------------------------------------------------------------------------------------------

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self.counts = []

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Count each image by itself."""
        self.counts += counted(pl_module, batch["id"], outputs, batch["mask"])

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Show the scores, the table of all images, and the worst of those that the first process has tested."""
        own = [counts.settled() for counts in self.counts]
        parts: list[Any] = [own]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            dist.all_gather_object(parts, own)
        self.counts = []
        if not trainer.is_global_zero:
            return
        self.show_charts(trainer, pl_module, "test")
        confusion = pl_module.results["test"]["confusion"].tolist()
        names = list(pl_module.class_names)
        rows = [[name, *row] for name, row in zip(names, confusion, strict=True)]
        self.table(trainer, "test/confusion_counts", ["truth / prediction", *names], rows)

        pictures: dict[str, np.ndarray] = {}
        if _draws_alone(trainer):
            scored = sorted((counts for counts in own if counts.mean == counts.mean), key=lambda counts: counts.mean)
            for place, counts in enumerate(scored[: self.number], start=1):
                key = f"test/worst/{place}"
                if (picture := self.show(trainer, pl_module, key, "test", counts.name)) is not None:
                    pictures[counts.name] = picture
        everything = sorted(
            (counts for part in parts for counts in part), key=lambda counts: (counts.rank, counts.name)
        )
        columns = ["image", "mean IoU", "pixel accuracy", *(f"IoU {name}" for name in names), "picture"]
        table = [
            [counts.name, counts.mean, counts.accuracy, *counts.iou, pictures.get(counts.name)]
            for counts in everything[: self.listed]
        ]
        self.table(trainer, "test/predictions", columns, table)

    # -- what is shown ------------------------------------------------------------------------------------------------

    def show(self, trainer: pl.Trainer, task: Any, key: str, stage: str, name: str) -> np.ndarray | None:
        """Predict one image, draw it and hand it to the loggers; returns the picture, or None where it is not there."""
        sample = self.sample(trainer, stage, name)
        if sample is None:
            return None
        labels, confidence = predicted(trainer, task, sample)
        truth = np.where(sample["mask"] == task.ignore_index, IGNORE, sample["mask"]).astype(np.uint8)
        image = image_at(visible(sample["image"][None].to(task.device), task)[0], truth.shape)
        [counts] = counted(task, [name], labels[None], sample["mask"][None])
        found = counts.settled()
        caption = f"{name} · mean IoU {found.mean:.3f} · pixel accuracy {found.accuracy:.3f}"
        shown = labels.numpy().astype(np.uint8)
        picture = draw.example(
            image, truth, shown, task.class_names, task.class_colors, caption, confidence=confidence, largest=LARGEST
        )
        masks = Masks(image, {"truth": truth, "prediction": shown}, task.class_names)
        for logger in run_loggers(trainer):
            logger.picture(key, picture, logged_step(trainer), caption, masks)
        return picture

    def sample(self, trainer: pl.Trainer, stage: str, name: str) -> Any:
        """Return a sample of the data module by its name, read once, or None where there is none such."""
        data: Any = getattr(trainer, "datamodule", None)
        split = getattr(data, "test_split_name", stage) if stage == "test" else stage
        dataset = getattr(data, "datasets", {}).get(split)
        if dataset is None:
            return None
        if (key := f"{split}/{name}") not in self.samples:
            index = next((index for index, pair in enumerate(dataset.pairs) if pair.id == name), None)
            if index is None:
                return None
            self.samples[key] = dataset[index]
        return self.samples[key]

    def show_charts(self, trainer: pl.Trainer, task: Any, stage: str) -> None:
        """Draw the confusion matrix and the IoU of the classes."""
        if stage not in task.results or not run_loggers(trainer):
            return
        result, names = task.results[stage], list(task.class_names)
        counts = result["confusion"].numpy()
        frequency = counts.sum(axis=1) / max(1, int(counts.sum()))
        drawn = {
            "confusion_matrix": charts.confusion_matrix(counts, names),
            "class_iou": charts.class_bars(result["iou"].tolist(), names, frequency.tolist(), task.class_colors),
        }
        for name, picture in drawn.items():
            for logger in run_loggers(trainer):
                logger.picture(f"{stage}/{name}", picture, logged_step(trainer))

    def table(self, trainer: pl.Trainer, key: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Hand a table to the loggers."""
        for logger in run_loggers(trainer):
            logger.table(key, columns, rows, logged_step(trainer))


def logged_step(trainer: pl.Trainer) -> int:
    """Return the step under which Lightning logs the scores of the same moment: within a fit the last one, from 0."""
    return max(0, trainer.global_step - (trainer.state.fn == TrainerFn.FITTING))


def counted(task: Any, names: Sequence[str], labels: Tensor, target: Tensor) -> list[ImageCounts]:
    """Return the counts of the images of a batch, see `seg.choice.image_counts`."""
    return image_counts(names, labels, target, len(task.class_names), task.ignore_index, task.include_background)


def predicted(trainer: pl.Trainer, task: Any, sample: Any) -> tuple[Tensor, np.ndarray]:
    """Return labels (H, W) of a sample, at its mask's size, and the largest probability of each pixel."""
    # one image beside batches of several would have the network compiled a second time
    eager = torch.compiler.set_stance("force_eager") if task.compiled else nullcontext()
    with torch.no_grad(), trainer.precision_plugin.val_step_context(), eager:
        logits = task(sample["image"][None].to(task.device))
    logits = task.to_size(logits.float(), sample["mask"][None])
    confidence, labels = logits.softmax(dim=1)[0].max(dim=0)
    return labels.cpu(), confidence.cpu().numpy()


def _fitting(trainer: pl.Trainer) -> bool:
    return trainer.state.fn is not None and trainer.state.fn.value == "fit" and not trainer.sanity_checking


def _draws_alone(trainer: pl.Trainer) -> bool:
    """Tell whether one process can run the network without the others, which sharded weights do not allow."""
    whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)
    return whole and not isinstance(trainer.strategy, DeepSpeedStrategy)
