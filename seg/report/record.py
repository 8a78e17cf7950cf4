"""What a test or validation leaves in the run folder for the report: each image's confusion matrix and small pictures.

    records/test.json               classes, scores, the confusion matrix, which parts belong to it
    records/test-<token>-<rank>.zip  a part a process: images.json, and four small pictures an image

The JSON file is written last and replaced whole, so that a reader sees one complete record or the one before it.
"""

import json
import time
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from seg.callbacks import visible
from seg.files import replacing
from seg.metrics import count_labels
from seg.report.thumbnails import encode, room_of, side_of

FORMAT = 1
"""Version of what a record holds."""
FOLDER = "records"
WAITING = 4
"""Batches that may wait to be encoded; more would hold too much memory, so that the test waits instead."""


class ImageRecord(Callback):
    """Record every image of a test or validation for the report, encoded beside the network's work.

    A record that cannot be written never ends a run: it is said, and the run goes on without.

    Args:
        folder: the run folder.
        checkpoint: what is tested, for the page to tell; at the end of a fit, best.ckpt or else last.ckpt.

    """

    def __init__(self, folder: Path, checkpoint: Path | None = None) -> None:
        self.folder = Path(folder) / FOLDER
        self.checkpoint = checkpoint
        self.part: Part | None = None
        self.logits: list[Tensor] = []
        self.hook: Any = None
        self.token, self.started = "", 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forget what an earlier stage left open."""
        self._close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Open this process's part."""
        if trainer.state.fn is not None and trainer.state.fn.value == "fit":
            return  # the validations of a training are not recorded
        stage = "test" if trainer.testing else "val"
        self.token, self.started = trainer.strategy.broadcast(uuid.uuid4().hex[:8]), time.monotonic()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{stage}-{self.token}-{trainer.global_rank}.zip"
            self.part = Part(path, room_of(_images(trainer)), len(pl_module.class_names), pl_module.ignore_index)
        except OSError as error:
            self._failed(error)
            return
        if not pl_module.compiled:  # a hook would have the network compiled anew
            self.hook = pl_module.net.register_forward_hook(self._keep_logits)

    def _keep_logits(self, net: Any, images: Any, output: Any) -> None:
        self.logits.append((output[0] if isinstance(output, tuple) else output).detach())

    def on_test_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        """Hand a batch to the thread that encodes; waits for it where it is far behind."""
        if self.part is None:
            return
        logits, self.logits = self.logits, []
        # more than one forward pass a batch (tiles, flips) leaves no logits that belong to the labels
        known = logits[0] if len(logits) == 1 and len(logits[0]) == len(outputs) else None
        try:
            self.part.add(
                [str(name) for name in batch["id"]],
                visible(batch["image"], pl_module).permute(0, 2, 3, 1).cpu().numpy(),
                batch["mask"].cpu().numpy(),
                outputs.to(torch.uint8).cpu().numpy(),
                None if known is None else confidence(known, side_of(self.part.room) // 2).cpu().numpy(),
            )
        except Exception as error:  # whatever it is: the run matters more than its record
            self._failed(error)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Close the parts of all processes, then write what makes them one record."""
        if not self.token:
            return
        stage, token = "test" if trainer.testing else "val", self.token
        try:
            if self.part is not None:
                self.part.finish()
                self.part = None
        except Exception as error:
            self._failed(error)
        self._close()
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        parts = sorted(self.folder.glob(f"{stage}-{token}-*.zip"), key=lambda path: int(path.stem.split("-")[2]))
        if not parts:
            return
        data = getattr(trainer, "datamodule", None)
        content = {
            "format": FORMAT,
            "stage": stage,
            "split": getattr(data, "test_split_name", stage) if stage == "test" else stage,
            "data": f"{type(data).__name__} in {getattr(data, 'root', '?')}",
            "checkpoint": (self.checkpoint or self._tested()).name,
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "made": time.time(),
            "seconds": time.monotonic() - self.started,
            "processes": trainer.world_size,
            "parts": [path.name for path in parts],
            "images": _images(trainer),
            "names": list(pl_module.class_names),
            "colors": [list(color) for color in pl_module.class_colors],
            **plain_scores(pl_module.results.get(stage, {})),
        }
        try:
            with replacing(self.folder / f"{stage}.json") as temporary:
                temporary.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
            for path in self.folder.glob(f"{stage}-*.zip"):  # the record before, and what crashed runs left
                if path not in parts:
                    path.unlink(missing_ok=True)
        except OSError as error:
            self._failed(error)

    def on_validation_start(self, *arguments: Any) -> None:
        """Open this process's part, outside of a training."""
        self.on_test_start(*arguments)

    def on_validation_batch_end(self, *arguments: Any) -> None:
        """Hand a batch on."""
        self.on_test_batch_end(*arguments)

    def on_validation_end(self, *arguments: Any) -> None:
        """Close the record."""
        self.on_test_end(*arguments)

    def on_exception(self, *_: Any) -> None:
        """Throw away what was begun."""
        self._close()

    def _tested(self) -> Path:
        best, last = (self.folder.parent / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
        return best if best.exists() else last

    def _close(self) -> None:
        if self.part is not None:
            self.part.abandon()
        if self.hook is not None:
            self.hook.remove()
        self.part, self.hook, self.logits, self.token = None, None, [], ""

    def _failed(self, error: Exception) -> None:
        rank_zero_warn(f"no record for the report in {self.folder}: {error}")
        token = self.token
        self._close()
        self.token = token  # the other processes wait for this one at the end


class Part:
    """One process's part of a record, encoded and written by a thread of its own.

    Args:
        path: zip file.
        room: bytes that the pictures of one image may take.
        num_classes: number of classes.
        ignore_index: label that does not count.

    """

    def __init__(self, path: Path, room: int, num_classes: int, ignore_index: int) -> None:
        self.path, self.room = path, room
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.file = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED)
        self.rows: list[dict[str, Any]] = []
        self.thread = ThreadPoolExecutor(1, "record")
        self.free = BoundedSemaphore(WAITING)
        self.error: Exception | None = None

    def add(
        self,
        names: list[str],
        images: np.ndarray,
        truths: np.ndarray,
        predictions: np.ndarray,
        confidences: np.ndarray | None,
    ) -> None:
        """Take a batch: images (B, h, w, N), labels (B, H, W), confidences uint8 (B, h', w').

        Raises:
            Exception: what went wrong with an earlier batch.

        """
        if self.error is not None:
            raise self.error
        shown = confidences if confidences is not None else [None] * len(names)
        self.free.acquire()
        self.thread.submit(self._encode, zip(names, images, truths, predictions, shown, strict=True))

    def finish(self) -> None:
        """Write what is left and the table of images.

        Raises:
            Exception: what went wrong on the way.

        """
        self.thread.shutdown()
        if self.error is not None:
            raise self.error
        self.file.writestr("images.json", json.dumps(self.rows), zipfile.ZIP_DEFLATED)
        self.file.close()

    def abandon(self) -> None:
        """Remove the part."""
        self.thread.shutdown(cancel_futures=True)
        with suppress(OSError, ValueError):
            self.file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _encode(self, images: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]) -> None:
        try:
            if self.error is None:
                for image in images:
                    self._encode_one(*image)
        except Exception as error:  # handed to whoever adds the next batch
            self.error = error
        finally:
            self.free.release()

    def _encode_one(
        self, name: str, image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, confidence: np.ndarray | None
    ) -> None:
        number = len(self.rows)
        counts = sparse_confusion(truth, prediction, self.num_classes, self.ignore_index)
        truth = np.where(truth == self.ignore_index, 255, truth).astype(np.uint8)
        for file, content in encode(image, truth, prediction, confidence, self.room).items():
            self.file.writestr(f"{number:06d}/{file}", content)
        self.rows.append({"id": name, "height": truth.shape[0], "width": truth.shape[1], "confusion": counts})


def sparse_confusion(truth: np.ndarray, prediction: np.ndarray, classes: int, ignore_index: int) -> list[list[int]]:
    """Return the confusion matrix of an image, see `sparse`."""
    found, true = (torch.from_numpy(np.ascontiguousarray(labels)).flatten() for labels in (prediction, truth))
    return sparse(count_labels(found, true, classes, ignore_index).numpy())


def sparse(confusion: np.ndarray) -> list[list[int]]:
    """Return [truth, prediction, pixels] of the pairs that occur in a confusion matrix (C, C)."""
    return [[t, p, int(confusion[t, p])] for t, p in np.argwhere(confusion).tolist()]


def confidence(logits: Tensor, side: int) -> Tensor:
    """Return the largest probability as uint8 (B, h, w) of 0..255, at about every n-th pixel of logits (B, C, H, W)."""
    step = max(1, -(-max(logits.shape[-2:]) // max(side, 1)))
    few = logits[:, :, step // 2 :: step, step // 2 :: step] if min(logits.shape[-2:]) > step // 2 else logits
    return (few.float().softmax(1).amax(1).nan_to_num() * 255).round().to(torch.uint8)


def plain_scores(result: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return scores (see `seg.metrics.scores`) as JSON knows numbers: None where undefined; the matrix sparse."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    matrix = result.get("confusion")
    values = {name: plain(value.tolist()) for name, value in result.items() if name != "confusion" and value.ndim < 2}
    return {"scores": values, "confusion": [] if matrix is None else sparse(matrix.numpy())}


def _images(trainer: pl.Trainer) -> int:
    """Return how many images the split has, or as many as its batches could hold."""
    loaders = trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders
    total = 0
    for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
        with suppress(TypeError, AttributeError):
            total += len(loader.dataset)  # type: ignore[union-attr]
    return total
