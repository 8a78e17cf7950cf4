"""Measure inference by tiles against MONAI's sliding window, with the same network, and compare the labels.

Both cut an image of 1024×2048 into tiles of 512 that overlap by a quarter, and blend them by Gaussians. MONAI runs as
its users call it, in float32; `seg` in its own defaults for the CPU (bfloat16 where the CPU has it, channels-last) and,
for the labels, in float32. Each is measured in a process of its own, for the peak of memory beyond model and image.

    pip install monai
    python benchmarks/tiles.py --width 32
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from seg.infer import Predictor
from seg.loading import TaskNetwork
from seg.models import UNet
from seg.task import SegmentationTask
from seg.trainer import keep_freed_memory

CLASSES, SIZE, TILE, OVERLAP = 19, (1024, 2048), 512, 0.25
KINDS = ("monai fp32", "seg fp32", "seg fp32, no margin", "seg fp32, whole", "seg bf16", "seg bf16, whole")


def task(width):
    """Return an untrained network whose norms do something, so that labels differ from place to place."""
    torch.manual_seed(0)
    net = UNet(CLASSES, width=width)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.weight.data.uniform_(0.5, 1.5)
    names = [str(index) for index in range(CLASSES)]
    colors = [[index] * 3 for index in range(CLASSES)]
    return SegmentationTask(net, names, colors, [120.0] * 3, [60.0] * 3).eval()


def image():
    generator = np.random.default_rng(0)
    import cv2

    coarse = generator.integers(0, 256, (SIZE[0] // 16, SIZE[1] // 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (SIZE[1], SIZE[0]), interpolation=cv2.INTER_CUBIC)


def by_monai(held):
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer((TILE, TILE), sw_batch_size=1, overlap=OVERLAP, mode="gaussian")

    def run(pixels):
        with torch.inference_mode():
            logits = inferer(torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), held)
            return logits.max(1).indices[0].to(torch.uint8).numpy()

    return run


def measured(kind, width, repeats):
    """Return seconds of each run, the peak of memory in MB beyond what there was before it, and the labels."""
    held, pixels = task(width), image()
    if "seg" in kind:
        keep_freed_memory()
    if kind.startswith("monai"):
        run = by_monai(held)
    else:
        options = {"whole": True} if "whole" in kind else {"tile": TILE, "overlap": OVERLAP}
        options |= {"margin": 0} if "no margin" in kind else {}
        network = TaskNetwork(held, "bf16-mixed" if "bf16" in kind else "32")
        run = Predictor(network, **options).labels
    before = peak()
    first = run(pixels)  # also what warms up
    memory = peak() - before
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(pixels)
        seconds.append(time.perf_counter() - start)
    return seconds, memory, first


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=32, help="U-Net's first level")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind in a round")
    parser.add_argument("--rounds", type=int, default=2, help="rounds over all kinds")
    parser.add_argument("--kind", choices=KINDS, help="measure this one alone, and print it as JSON")
    options = parser.parse_args()
    if options.kind:
        seconds, memory, labels = measured(options.kind, options.width, options.repeats)
        np.save(sys.stdout.buffer, labels)
        print(json.dumps({"seconds": seconds, "memory": memory}), file=sys.stderr)
        return
    times, memories, labels = ({kind: [] for kind in KINDS} for _ in range(3))
    for _ in range(options.rounds):
        for kind in KINDS:
            command = [sys.executable, __file__, "--kind", kind, "--width", str(options.width)]
            ran = subprocess.run([*command, "--repeats", str(options.repeats)], capture_output=True, check=True)
            held = json.loads(ran.stderr.splitlines()[-1])
            times[kind] += held["seconds"]
            memories[kind].append(held["memory"])
            labels[kind] = np.frombuffer(ran.stdout, np.uint8)[-SIZE[0] * SIZE[1] :]
    threads = torch.get_num_threads()
    print(f"U-Net of width {options.width}, {CLASSES} classes, {SIZE[0]}×{SIZE[1]}, {threads} threads")
    base = statistics.median(times["monai fp32"]), statistics.median(memories["monai fp32"])
    for kind in KINDS:
        seconds, memory = statistics.median(times[kind]), statistics.median(memories[kind])
        same, whole = (100 * float((labels[kind] == labels[peer]).mean()) for peer in ("monai fp32", "seg fp32, whole"))
        print(
            f"{kind:<22}{seconds:7.2f} s {seconds / base[0]:6.2f} × {memory:7.0f} MB {memory / base[1]:6.2f} ×"
            f"   labels as MONAI's {same:.3f} %, as the whole image's {whole:.3f} %"
        )


if __name__ == "__main__":
    main()
