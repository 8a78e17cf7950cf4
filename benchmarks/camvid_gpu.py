"""Train networks on CamVid at 480×360 from random weights for some minutes on a GPU: what they reach, and how fast.

For each shipped config: validation mIoU of the real command after the minutes, images a second (validation not
counted), model FLOPs utilisation (six times the network's multiply-accumulates an image, over the peak rate of the
device), memory, and beside it the same step in fp32 in an eager loop without any of seg's defaults.

    python benchmarks/camvid_gpu.py --root data/CamVid --minutes 4
    python benchmarks/camvid_gpu.py --root data/CamVid --minutes 4 --set --model.compile true
    python benchmarks/camvid_gpu.py --root data/CamVid --minutes 0.5 --configs camvid_unet_cpu   # works without a GPU
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from seg.models.profile import TrainingStep, gmacs

REPOSITORY = Path(__file__).resolve().parent.parent

PEAKS = {"H100": 989, "H200": 989, "A100": 312, "L4": 121, "L40": 181, "A10": 125, "4090": 165, "3090": 71, "V100": 125}
"""Dense bf16 (V100: fp16) tensor operations, 10¹² a second, of the makers' data sheets; part of the device's name."""


def peak(given):
    """Return the peak rate of the device in operations a second, or nothing where it is not known."""
    if given or not torch.cuda.is_available():
        return 1e12 * given if given else None
    name = torch.cuda.get_device_name()
    return next((1e12 * rate for part, rate in PEAKS.items() if part in name), None)


def train(name, options):
    """Run the real command for the minutes; return what it printed and the run's checkpoint."""
    seconds = round(60 * options.minutes)
    command = [sys.executable, "train.py", "--config", name, "--data.root", str(options.root.resolve())]
    command += ["--trainer.default_root_dir", str(options.out.resolve()), "--trainer.num_sanity_val_steps", "0"]
    command += [
        "--trainer.max_time",
        f"00:{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
        *options.set,
    ]
    command += ["--trainer.max_epochs", "-1"]
    before = set(options.out.resolve().glob(f"{name}/*"))
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{name}: {(result.stdout + result.stderr)[-2000:]}")
    (run,) = set(options.out.resolve().glob(f"{name}/*")) - before
    return result.stdout, run


def built(run, device):
    """Return a fresh network of a run's config, and its task's settings."""
    from seg.task import SegmentationTask

    task = SegmentationTask.load_from_checkpoint(
        run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True
    )
    return task.net.to(device), len(task.class_names)


def measure(name, options):
    """Return a row of the table."""
    printed, run = train(name, options)
    held = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    elapsed = next(state for key, state in held["callbacks"].items() if "Timer" in key)["time_elapsed"]["train"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net, classes = built(run, device)
    import yaml

    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    batch = config["data"]["init_args"]["batch_size"]
    size = tuple(config["data"]["init_args"]["resize"] or (360, 480))
    rate = held["global_step"] * batch / elapsed
    work = gmacs(net, size)  # multiply-accumulates of a forward pass; training does three times as many
    row = {
        "config": name,
        "miou": float(re.search(r"mIoU (\S+)", printed)[1]),
        "epochs": held["epoch"],
        "images_per_second": rate,
        "gmacs": work,
        "utilisation": 6e9 * work * rate / limit if (limit := peak(options.peak)) else None,
    }
    ours = {"dtype": torch.bfloat16, "channels_last": True}
    for label, settings in {"bf16 channels_last": ours, "fp32 eager": {"channels_last": False}}.items():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = label != "fp32 eager"
        step = TrainingStep(net, size, batch, classes, **settings)
        step.run()
        row[label] = {"images_per_second": batch / step.seconds(10), "gib": step.peak_bytes() / 2**30}
    return row


def table(rows):
    lines = [
        "| config | val mIoU | epochs | images/s | MFU | step alone, bf16: images/s, GiB | fp32 eager: images/s, GiB |"
    ]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        ours, plain = row["bf16 channels_last"], row["fp32 eager"]
        alone = [f"{step['images_per_second']:.1f}, {step['gib']:.2f}" for step in (ours, plain)]
        used = "not known" if row["utilisation"] is None else f"{100 * row['utilisation']:.1f} %"
        lines.append(
            f"| {row['config']} | {row['miou']:.3f} | {row['epochs']} | {row['images_per_second']:.1f} | {used} | "
            f"{alone[0]} | {alone[1]} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/CamVid"))
    parser.add_argument("--minutes", type=float, default=4.0, help="of training each")
    parser.add_argument("--configs", nargs="+", default=["camvid_unet", "camvid_deeplabv3plus"])
    parser.add_argument("--peak", type=float, help="of the device in 10¹² operations a second, where it is not known")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "runs")) / "camvid_gpu")
    parser.add_argument("--set", nargs=argparse.REMAINDER, default=[], help="further settings of the command, last")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.configs:
        rows.append(measure(name, options))
        print(json.dumps(rows[-1]), flush=True)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"\n{where}, torch {torch.__version__}\n{table(rows)}")


if __name__ == "__main__":
    main()
