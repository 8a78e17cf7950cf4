"""Measure a training step of the task against a hand-written loop, and what bf16 and channels_last buy.

Both train the same U-Net on the same batches with AdamW, cross-entropy and a schedule per step. The hand-written loop
does nothing else; the task logs, keeps time and prints progress lines as in any run. The two alternate in blocks.

    python benchmarks/step.py --width 32 --steps 12
    python benchmarks/step.py --table          # number format × layout × torch.compile, on the CPU or a GPU
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from itertools import pairwise, product

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningDataModule
from torch.utils.data import DataLoader

from seg.data.dataset import collate
from seg.loggers import CSV
from seg.models import UNet
from seg.progress import PlainProgress
from seg.schedules import Poly
from seg.task import SegmentationTask
from seg.trainer import Trainer, keep_freed_memory, use_tf32

CLASSES, SIZE, BATCH = 11, (180, 240), 4


class Fixed(LightningDataModule):
    """The same few batches over and over, made beforehand: the loader costs both sides nothing."""

    def __init__(self, steps):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.samples = [
            {
                "image": torch.randint(0, 255, (3, *SIZE), generator=generator, dtype=torch.uint8),
                "mask": torch.randint(0, CLASSES, SIZE, generator=generator, dtype=torch.uint8),
                "id": str(index),
            }
            for index in range(BATCH * steps)
        ]

    def train_dataloader(self):
        return DataLoader(self.samples, BATCH, collate_fn=collate)


class Clock(Callback):
    """Note when each step ends."""

    def __init__(self):
        self.ends = []

    def on_train_batch_end(self, *args):
        self.ends.append(time.perf_counter())


def network(width, channels_last):
    torch.manual_seed(0)
    net = UNet(CLASSES, width=width)
    return net.to(memory_format=torch.channels_last) if channels_last else net


def by_hand(width, data, bf16, channels_last):
    """Return the seconds of each step of a plain loop."""
    net = network(width, channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    mean, std = torch.full((1, 3, 1, 1), 120.0), torch.full((1, 3, 1, 1), 60.0)
    loader, ends = data.train_dataloader(), []
    for step, batch in enumerate(loader):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * Poly().factor(step, len(loader), 0.0)
        images = batch["image"].contiguous(memory_format=torch.channels_last) if channels_last else batch["image"]
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = net((images - mean) / std)
        loss = F.cross_entropy(logits.float(), batch["mask"].long(), ignore_index=255)
        loss.backward()
        optimizer.step()
        ends.append(time.perf_counter())
    return [after - before for before, after in pairwise(ends[1:])]


def table(options, data):
    """Print the time of a step for each number format and layout, with and without torch.compile."""
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    use_tf32(True) if device.type == "cuda" else None
    batches = [
        {name: batch[name].to(device) for name in ("image", "mask")} for batch in list(data.train_dataloader())[:4]
    ]
    print(f"U-Net of width {options.width}, {BATCH} images of {SIZE[1]}×{SIZE[0]}, {device}")
    print("| | ms a step | × fp32 | first step, s |\n| --- | --- | --- | --- |")
    reference = None
    for compiled, bf16, channels_last in product((False, True), (False, True), (False, True)):
        net = network(options.width, channels_last).to(device).train()
        if compiled:
            net.compile()
        optimizer, times = torch.optim.AdamW(net.parameters(), 1e-3), []
        for step in range(options.steps):
            batch, start = batches[step % len(batches)], time.perf_counter()
            images = batch["image"].contiguous(
                memory_format=torch.channels_last if channels_last else torch.contiguous_format
            )
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = net((images - 120.0) / 60.0)
            F.cross_entropy(logits.float(), batch["mask"].long(), ignore_index=255).backward()
            optimizer.step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        median = statistics.median(times[2:])
        reference = reference or median
        words = ["bf16" if bf16 else "fp32", *["channels_last"] * channels_last, *["compile"] * compiled]
        print(f"| {', '.join(words)} | {1e3 * median:.1f} | {median / reference:.2f} | {times[0]:.1f} |", flush=True)


def by_task(width, data, bf16, channels_last):
    """Return the seconds of each step of the task, with its logger and its progress lines."""
    task = SegmentationTask(
        network(width, channels_last),
        class_names=[str(index) for index in range(CLASSES)],
        class_colors=[[index] * 3 for index in range(CLASSES)],
        mean=[120.0] * 3,
        std=[60.0] * 3,
        schedule=Poly(),
        channels_last=channels_last,
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = Trainer(
            accelerator="cpu",
            precision="bf16-mixed" if bf16 else "32",
            max_epochs=1,
            logger=[CSV(folder)],
            callbacks=[PlainProgress(), clock],
            log_every_n_steps=10,
            enable_checkpointing=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(task, datamodule=data)
    return [after - before for before, after in pairwise(clock.ends[1:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=32, help="U-Net's first level")
    parser.add_argument("--steps", type=int, default=12, help="steps a block")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of each kind, interleaved")
    parser.add_argument("--table", action="store_true", help="measure number formats, layouts and torch.compile")
    parser.add_argument("--device", help="of the table: cpu, cuda; a GPU where there is one")
    options = parser.parse_args()
    keep_freed_memory()  # the Trainer does this too: both sides run with the same allocator
    data = Fixed(options.steps)
    if options.table:
        table(options, data)
        return
    kinds = {
        "hand-written, fp32": (by_hand, False, False),
        "hand-written, fp32, channels_last": (by_hand, False, True),
        "hand-written, bf16, channels_last": (by_hand, True, True),
        "seg, bf16, channels_last": (by_task, True, True),
    }
    times = {name: [] for name in kinds}
    for _ in range(options.blocks):
        for name, (measure, bf16, channels_last) in kinds.items():
            times[name] += measure(options.width, data, bf16, channels_last)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"U-Net of width {options.width}, {BATCH} images of {SIZE[1]}×{SIZE[0]}, {torch.get_num_threads()} threads")
    for name, median in medians.items():
        print(f"{name:<36}{1e3 * median:8.1f} ms a step {median / medians['hand-written, fp32']:6.2f} × fp32")
    ratio = medians["seg, bf16, channels_last"] / medians["hand-written, bf16, channels_last"]
    print(f"seg over the hand-written loop: {ratio:.3f}")


if __name__ == "__main__":
    main()
