"""Measure the steps of the real `seg fit`, all loggers and metrics on, against a hand-written loop.

Both train the same U-Net on the batches of the same loader of Shapes, with AdamW, cross-entropy and a schedule per
step; the loop with AdamW as it comes, and fused, as seg runs it on a CPU. The command also writes metrics.csv, W&B
(offline) and TensorBoard, validates every epoch, keeps checkpoints and prints; the time between the ends of two steps
of an epoch is measured. The kinds take turns in blocks.

    python benchmarks/fit.py --width 32 --steps 30 --blocks 3
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

os.environ["WANDB_MODE"] = "offline"

import albumentations as A
import torch
import torch.nn.functional as F
import yaml
from pytorch_lightning import Callback

from seg.cli import main as command
from seg.data import Shapes
from seg.models import UNet
from seg.schedules import Poly
from seg.trainer import keep_freed_memory, resolve_precision

BATCH, CROP = 8, (96, 96)
WARM = 3  # steps of an epoch that are not counted


class Clock(Callback):
    """Note when each step of each epoch ends."""

    epochs: list[list[float]] = []  # noqa: RUF012 (of the class: the command builds the object)

    def on_train_epoch_start(self, *args):
        Clock.epochs.append([])

    def on_train_batch_end(self, *args):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        Clock.epochs[-1].append(time.perf_counter())


def seconds(epochs):
    return [after - before for ends in epochs for before, after in pairwise(ends[WARM:])]


def settings(folder, options):
    steps = options.steps * options.epochs
    logger = [
        {"class_path": "seg.loggers.WandB"},
        {"class_path": "pytorch_lightning.loggers.TensorBoardLogger", "init_args": {"save_dir": str(folder)}},
    ]
    crop = {"class_path": "albumentations.RandomCrop", "init_args": {"height": CROP[0], "width": CROP[1]}}
    data = {"root": options.root, "augment": [crop], "cache": "ram", "batch_size": BATCH}
    data |= {"num_workers": options.workers, "repeat": 1 + BATCH * options.steps // 100}
    return {
        "model": {
            "net": {"class_path": "seg.models.UNet", "init_args": {"width": options.width}},
            "schedule": {"class_path": "seg.schedules.Poly"},
        },
        "data": {"class_path": "seg.data.Shapes", "init_args": data},
        "trainer": {
            "max_epochs": options.epochs,
            "max_steps": steps,
            "limit_train_batches": options.steps,
            "limit_val_batches": 2,
            "limit_test_batches": 1,
            "enable_progress_bar": True,
            "default_root_dir": str(folder / "runs"),
            "logger": logger if not options.plain else None,
            "callbacks": [{"class_path": "fit.Clock"}],
        },
    }


def by_command(options):
    """Return the seconds of each step of the command."""
    import fit  # the module that the configuration names, not the script

    fit.Clock.epochs.clear()
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        config = folder / "measured.yaml"
        config.write_text(yaml.safe_dump(settings(folder, options)), encoding="utf-8")
        command(["fit", "--config", str(config)])
    return seconds(fit.Clock.epochs)


def by_hand(options, fused=None):
    """Return the seconds of each step of a plain loop over the same loader."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = settings(Path("unused"), options)["data"]["init_args"]
    data = Shapes(**{**given, "augment": [A.RandomCrop(*CROP)]})
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    net = UNet(data.num_classes, width=options.width).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=fused)
    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (data.mean, data.std))
    bf16, total, step, epochs = resolve_precision() == "bf16-mixed", options.steps * options.epochs, 0, []
    loader = data.train_dataloader()
    for epoch in range(options.epochs):
        loader.sampler.set_epoch(epoch)
        epochs.append([])
        for index, batch in enumerate(loader):
            if index == options.steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * Poly().factor(step, total, 0.0)
            images = batch["image"].to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            mask = batch["mask"].to(device, non_blocking=True)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = net((images - mean) / std)
            loss = F.cross_entropy(logits.float(), mask.long(), ignore_index=255)
            loss.backward()
            optimizer.step()
            step += 1
            if device.type == "cuda":
                torch.cuda.synchronize()
            epochs[-1].append(time.perf_counter())
    return seconds(epochs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="data/shapes", help="of Shapes, drawn there where it is not")
    parser.add_argument("--width", type=int, default=32, help="U-Net's first level")
    parser.add_argument("--steps", type=int, default=30, help="steps an epoch")
    parser.add_argument("--epochs", type=int, default=2, help="epochs a block, each with a validation")
    parser.add_argument("--blocks", type=int, default=3, help="blocks of each kind, interleaved")
    parser.add_argument("--workers", type=int, default=0, help="of the loader")
    parser.add_argument("--plain", action="store_true", help="the command without W&B and TensorBoard")
    options = parser.parse_args()
    keep_freed_memory()  # the Trainer does this too: both sides run with the same allocator
    times = {"hand-written": [], "hand-written, fused AdamW": [], "seg": []}
    for _ in range(options.blocks):
        times["hand-written"] += by_hand(options)
        times["hand-written, fused AdamW"] += by_hand(options, fused=True)
        times["seg"] += by_command(options)
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"U-Net of width {options.width}, {BATCH} images of {CROP[1]}×{CROP[0]}, {torch.get_num_threads()} threads")
    for name, median in medians.items():
        print(f"{name:<26}{1e3 * median:8.2f} ms a step; seg makes {median / medians['seg']:.3f} of its steps a second")


if __name__ == "__main__":
    main()
