"""What an exported network is worth: original and export on the same validation images, side by side."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seg.export.parity import Refused
from seg.labels import largest_class
from seg.metrics import SegmentationMetrics
from seg.task import SegmentationTask

Network = Callable[[Tensor], Tensor]
"""Raw pixel values (B, N, H, W) to logits (B, C, H, W)."""


@dataclass
class Worth:
    """Score and price of a network.

    Args:
        miou: mean IoU on the validation split.
        size: bytes of the weights, or of the file.
        seconds: median time of one image.
        memory: bytes at the peak of loading and running it, beside the libraries: of a GPU where it ran on one.

    """

    miou: float
    size: int
    seconds: float
    memory: int


@dataclass
class Verdict:
    """Original and export compared.

    Args:
        original: the checkpoint in fp32.
        exported: the file.
        agreement: share of all pixels with the same label.
        images: that both were evaluated on.
        shape: (B, N, H, W) that the time is of.

    """

    original: Worth
    exported: Worth
    agreement: float
    images: int
    shape: tuple[int, ...]

    @property
    def drop(self) -> float:
        """Points of mIoU that are lost; negative where the export is better."""
        return 100 * (self.original.miou - self.exported.miou)

    def table(self, precision: str) -> str:
        """Return what is printed."""
        lines = [f"{'':<14}{'mIoU':>9}{'MiB':>9}{'ms':>9}{'peak MiB':>10}"]
        for name, worth in (("checkpoint fp32", self.original), (f"export {precision}", self.exported)):
            lines.append(
                f"{name:<15}{worth.miou:>8.4f}{worth.size / 2**20:>9.1f}{1e3 * worth.seconds:>9.1f}"
                f"{worth.memory / 2**20:>10.0f}"
            )
        ratio = self.exported.seconds / self.original.seconds
        lines.append(
            f"drop {self.drop:.2f} points, the same label at {self.agreement:.2%} of the pixels of {self.images} "
            f"images, time × {ratio:.2f} ({'×'.join(map(str, self.shape))})"
        )
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """Return all figures for the JSON beside the file."""
        return {**asdict(self), "drop": self.drop}


@torch.inference_mode()
def evaluate(
    original: Network,
    exported: Network,
    batches: Iterable[dict[str, Any]],
    metrics: Callable[[], SegmentationMetrics],
) -> tuple[list[float], float, int]:
    """Return both networks' mIoU, the share of pixels where both give the same label, and the number of images.

    Args:
        original: sees every batch once.
        exported: the same.
        batches: of the evaluation loader; scored at the size of the mask, as the task does.
        metrics: makes what counts one network.

    """
    counts = [metrics(), metrics()]
    same = pixels = images = 0
    for batch in batches:
        target = batch["mask"]
        both = []
        for network, count in zip((original, exported), counts, strict=True):
            logits = SegmentationTask.to_size(network(batch["image"]).cpu(), target)
            both.append(largest_class(logits.contiguous()))
            count.update(both[-1], target)
        same += int((both[0] == both[1]).sum())
        pixels += target.numel()
        images += len(target)
    return [float(count.compute()["miou"]) for count in counts], same / pixels, images


@torch.inference_mode()
def seconds(networks: Sequence[Network], images: Tensor, rounds: int = 9) -> list[float]:
    """Return each network's median time for a batch; they take turns, so that a busy machine slows all alike."""
    times: list[list[float]] = [[] for _ in networks]
    for _ in range(rounds + 1):
        for network, values in zip(networks, times, strict=True):
            start = time.perf_counter()
            network(images).cpu()  # waits for a GPU
            values.append(time.perf_counter() - start)
    return [statistics.median(values[1:]) for values in times]


def memory(path: Path, shape: tuple[int, ...], device: str) -> int:
    """Return the bytes that a process takes at its peak for loading and running a file, see `seg.export.footprint`."""
    command = [sys.executable, "-m", "seg.export.footprint", str(path), device, json.dumps(shape)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise ValueError(f"{path} could not be run in a process of its own: {done.stderr.strip()[-300:]}")
    return int(done.stdout.split()[-1])


def refuse_drop(verdict: Verdict, limit: float) -> None:
    """Refuse an export that loses too much.

    Raises:
        Refused: naming drop and limit.

    """
    if not verdict.drop <= limit:  # nan, too
        raise Refused(
            f"the export loses {verdict.drop:.2f} points of mIoU, and --max-drop allows {limit:g}; nothing is written"
        )
