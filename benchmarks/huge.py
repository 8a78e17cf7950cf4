"""Measure the memory of `seg predict` on one huge picture: the peak of the whole command, for each kind of output.

The picture is drawn here, of the bands and type that the checkpoint takes, and cut into tiles. Each kind is saved by a
process of its own; what a picture of four tiles needs is taken off before the peak is divided by the pixels.

    python benchmarks/huge.py best.ckpt --side 20000
    python benchmarks/huge.py best.ckpt --side 3000 --save masks labelme --options=--tta=flips
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from seg.convert.png import write_color
from seg.loading import load
from seg.predict.kinds import KINDS
from seg.predict.tables import TABLES

SMALL = 768  # pixels a side of the picture that is compared with
BLOCK = 128  # pixels a side of one colour, so that there are regions to outline
CASES = {name: ["--save", name] for name in [*KINDS, *TABLES] if name != "cityscapes"} | {
    "tidied": ["--save", "areas", "--smallest-region", "9"],
    "all": ["--save", *(name for name in [*KINDS, *TABLES] if name != "cityscapes"), "--smallest-region", "9"],
}
"""What is measured: the options by a name."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--side", type=int, default=20000, help="pixels of the picture's height and width")
    parser.add_argument("--save", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--options", default="", help="further options of seg predict, in one word")
    options = parser.parse_args()

    network = load(options.checkpoint, "cpu").network
    tiles = [] if network.resize else ["--tile", "512"]  # as memory would have it where a picture is huge
    print(f"{options.side}×{options.side} pixels, {len(network.mean)} bands of {network.image_kind[1]}")
    print(f"{'':<14}{'peak MiB':>9}{'bytes a pixel':>15}{'s':>8}")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        pictures = [drawn(Path(folder), side, network) for side in (SMALL, options.side)]
        for name in options.save:
            command = [*CASES[name], "--device", options.device, *tiles, *options.options.split()]
            start = time.perf_counter()
            least, peak = (measured(options.checkpoint, picture, Path(folder), command) for picture in pictures)
            pixel = (peak - least) / (options.side**2 - SMALL**2)
            print(f"{name:<14}{peak / 2**20:>9.0f}{pixel:>15.1f}{time.perf_counter() - start:>8.0f}", flush=True)


def drawn(folder: Path, side: int, network) -> Path:
    """Write a picture of blocks and noise, some rows at a time."""
    random, bands, dtype = np.random.default_rng(0), len(network.mean), np.dtype(network.image_kind[1])
    mean, std = np.array(network.mean), np.array(network.std)
    colors = random.normal(mean, std, (-(-side // BLOCK), -(-side // BLOCK), bands))

    def parts():
        for row in colors:
            values = row.repeat(BLOCK, 0)[:side] + random.normal(0, std / 20, (BLOCK, 1, bands))
            if dtype.kind == "u":
                values = values.clip(0, np.iinfo(dtype).max).round()
            yield values.astype(dtype)

    if network.image_kind[0] == "rgb":
        path = folder / f"{side}.png"
        lengths = [min(BLOCK, side - top) for top in range(0, side, BLOCK)]
        write_color(path, (part[:length] for part, length in zip(parts(), lengths, strict=True)), side, side)
        return path
    path, done = folder / f"{side}.npy", 0
    held = np.lib.format.open_memmap(path, "w+", dtype, (side, side, bands))
    for part in parts():
        held[done : done + BLOCK] = part[: side - done]
        done += BLOCK
    return path


def measured(checkpoint: Path, picture: Path, folder: Path, options: list[str]) -> int:
    """Return the bytes that the command had in memory at its peak."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "seg", "predict", str(checkpoint), str(picture), "--out", out, *options]
        limits = {"SEG_MAX_PIXELS": str(2**31), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **limits})
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
