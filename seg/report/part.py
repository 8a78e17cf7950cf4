"""One process's part of a record: small pictures and a table of images, as one zip file."""

import json
import tempfile
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import BoundedSemaphore
from typing import IO, Any

import numpy as np
import torch

from seg.metrics import count_labels
from seg.report.thumbnails import encode

WAITING = 4
"""Batches that may wait to be encoded; more would hold too much memory, so that the test waits instead."""


class Part:
    """One process's part of a record, encoded and written by a thread of its own.

    Args:
        path: zip file; or None for one that has no name and goes with the process.
        room: bytes that the pictures of one image may take.
        num_classes: number of classes.
        ignore_index: label that does not count.

    """

    def __init__(self, path: Path | None, room: int, num_classes: int, ignore_index: int) -> None:
        self.place: Path | IO[bytes] = path if path is not None else tempfile.TemporaryFile()  # noqa: SIM115
        self.room = room
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.file = zipfile.ZipFile(self.place, "w", zipfile.ZIP_STORED)
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

    def finish(self) -> bytes | None:
        """Write what is left and the table of images; return the content of a file without a name.

        Raises:
            Exception: what went wrong on the way.

        """
        self.thread.shutdown()
        if self.error is not None:
            raise self.error
        self.file.writestr("images.json", json.dumps(self.rows), zipfile.ZIP_DEFLATED)
        self.file.close()
        if isinstance(self.place, Path):
            return None
        with self.place as file:
            file.seek(0)
            return file.read()

    def abandon(self) -> None:
        """Remove the part."""
        self.thread.shutdown(cancel_futures=True)
        with suppress(OSError, ValueError):
            self.file.close()
        with suppress(OSError):
            if isinstance(self.place, Path):
                self.place.unlink(missing_ok=True)
            else:
                self.place.close()

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
