"""How much memory a network takes, in a process of its own: `python -m seg.export.footprint FILE DEVICE SHAPE`."""

import ctypes
import gc
import json
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from seg.export.runtime import ExportedNetwork
from seg.loading import EXPORTED, load_task
from seg.models.blocks import SMALLEST_SIZE

if TYPE_CHECKING:
    from seg.task import SegmentationTask


def main() -> None:
    """Print the bytes that a network, loaded and running, adds at its peak to this process, or takes of its GPU."""
    path, device, shape = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    run(path, device, [*shape[:2], SMALLEST_SIZE, SMALLEST_SIZE])  # what libraries load late is no part of the network
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc alone: hand freed memory back, or it would be used again unseen
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    if on_gpu := torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    before = taken(device) if on_gpu else resident()
    network = run(path, device, shape)
    print(max((taken(device) if on_gpu else peak()) - before, 0))
    del network  # not before: a runtime gives a GPU's memory back as soon as nobody can run the network


def run(path: Path, device: str, shape: list[int]) -> "ExportedNetwork | SegmentationTask":
    """Load a checkpoint or an exported file, run it, and return it."""
    network = ExportedNetwork(path, device) if path.suffix.lower() in EXPORTED else load_task(path, device)
    images = torch.zeros(shape, dtype=getattr(torch, network.image_kind[1]))
    resident()  # a checkpoint is read with its optimiser, which is not needed here
    with torch.inference_mode():
        for _ in range(2):
            network(images.to(network.device))
    return network


def taken(device: str) -> int:
    """Return the bytes of a GPU that torch has had at its peak, and those that anyone else has now.

    ONNX Runtime takes its own, which torch does not count, and keeps it as long as it has a network.
    """
    free, total = torch.cuda.mem_get_info(device)
    return torch.cuda.max_memory_reserved(device) + total - free - torch.cuda.memory_reserved(device)


def resident() -> int:
    """Return the bytes in memory now; on Linux the peak starts anew from here."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    except OSError:
        return peak()
    return _line(status, "VmRSS")


def peak() -> int:
    """Return the most bytes that this process had in memory."""
    status = Path("/proc/self/status")
    if status.exists():
        return _line(status, "VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _line(status: Path, name: str) -> int:
    return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith(name)).split()[1])


if __name__ == "__main__":
    main()
