"""What a test or validation leaves in the run folder for the report: each image's confusion matrix and small pictures.

    records/test.json               classes, scores, the confusion matrix, which parts belong to it
    records/test-<token>-<rank>.zip  a part a process: images.json, and four small pictures an image

The JSON file is written last and replaced whole, so that a reader sees one complete record or the one before it.
"""

import json
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from seg.callbacks import visible
from seg.files import replacing
from seg.report.part import Part, sparse
from seg.report.thumbnails import room_of, side_of

FORMAT = 1
"""Version of what a record holds."""
FOLDER = "records"


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
            path = None  # of other processes, whose folder may lie on another machine's disk
            if trainer.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
                path = self.folder / f"{stage}-{self.token}-0.zip"
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
        """Close the parts of all processes, bring them together and write what makes them one record."""
        if not self.token:
            return
        stage, token, content = "test" if trainer.testing else "val", self.token, None
        try:
            if self.part is not None:
                content = self.part.finish()
                self.part = None
        except Exception as error:
            self._failed(error)
        self._close()
        contents = gathered(content, trainer)
        if not trainer.is_global_zero:
            return
        try:
            for rank, content in enumerate(contents):
                if content:
                    (self.folder / f"{stage}-{token}-{rank}.zip").write_bytes(content)
        except OSError as error:
            self._failed(error)
        parts = sorted(self.folder.glob(f"{stage}-{token}-*.zip"), key=lambda path: int(path.stem.split("-")[2]))
        if not parts:
            return
        data = getattr(trainer, "datamodule", None)
        record = {
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
            "include_background": pl_module.include_background,
            "names": list(pl_module.class_names),
            "colors": [list(color) for color in pl_module.class_colors],
            **plain_scores(pl_module.results.get(stage, {})),
        }
        try:
            with replacing(self.folder / f"{stage}.json") as temporary:
                temporary.write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
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


def confidence(logits: Tensor, side: int) -> Tensor:
    """Return the largest probability as uint8 (B, h, w) of 0..255, at about every n-th pixel of logits (B, C, H, W)."""
    step = max(1, -(-max(logits.shape[-2:]) // max(side, 1)))
    few = logits[:, :, step // 2 :: step, step // 2 :: step] if min(logits.shape[-2:]) > step // 2 else logits
    return (few.float().softmax(1).amax(1).nan_to_num() * 255).round().to(torch.uint8)


def gathered(content: bytes | None, trainer: pl.Trainer) -> list[bytes | None]:
    """Return what all processes give, in the first one; nothing in the others."""
    if trainer.world_size == 1:
        return [content]
    contents: list[bytes | None] | None = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(content, contents)
    return contents or []


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
