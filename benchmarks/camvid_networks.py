"""Train each network on CamVid for equal minutes by the real command, and print a table of what they reached.

The recipe is that of configs/camvid_unet_cpu.yaml: images at 240×180, scored at the labels' own 480×360, cross-entropy
with class weights, cosine over the time. Only network, batch size and learning rate change. Networks run one after the
other; a finished one is kept in results.json and skipped when the script is started again.

    python benchmarks/camvid_networks.py --root data/CamVid --minutes 3          # two CPU cores: narrow networks
    python benchmarks/camvid_networks.py --minutes 10 --all                      # a GPU: those of the papers' width too
"""

import argparse
import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import torch
import yaml

import seg.models
from seg.files import replacing

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPE = REPOSITORY / "configs" / "camvid_unet_cpu.yaml"

NETWORKS = {
    "FCN-8s VGG-16 with norms, width 16": {"net": "FCN", "options": {"encoder": "vgg16_bn", "width": 16}},
    "SegNet, width 16": {"net": "SegNet", "options": {"width": 16}},
    "SegNet-Basic, width 32": {"net": "SegNetBasic", "options": {"width": 32}},
    "DeconvNet, width 16": {"net": "DeconvNet", "options": {"width": 16}},
    "U-Net, width 16": {"net": "UNet", "options": {"width": 16}},
    "LargeFOV with norms, width 16": {"net": "DeepLabLargeFOV", "options": {"norm": "batch", "width": 16}},
    "DeepLab v3, ResNet-18": {"net": "DeepLabV3", "options": {"encoder": "resnet18"}},
    "DeepLab v3+, ResNet-18": {"net": "DeepLabV3Plus", "options": {"encoder": "resnet18"}},
    "smp U-Net, ResNet-18": {"net": "SMP", "options": {"arch": "Unet", "encoder": "resnet18"}},
    "FCN-8s VGG-16": {"net": "FCN", "lr": 0.0002},  # without norms, as LargeFOV
    "SegNet": {"net": "SegNet"},
    "SegNet-Basic": {"net": "SegNetBasic"},
    "DeconvNet": {"net": "DeconvNet"},
    "U-Net": {"net": "UNet"},
    "LargeFOV": {"net": "DeepLabLargeFOV", "lr": 0.0002},
    "DeepLab v3, ResNet-50": {"net": "DeepLabV3"},
    "DeepLab v3+, ResNet-50": {"net": "DeepLabV3Plus"},
}
LAPTOP = [label for label in NETWORKS if "width" in label or "ResNet-18" in label]
"""Those that two CPU cores can train; the others, of the papers' width, want a GPU."""
"""Label -> class in seg.models, its options, and batch_size and lr where they differ from the recipe's."""


def configuration(network, options):
    """Return the recipe with another network."""
    config = copy.deepcopy(yaml.safe_load(RECIPE.read_text(encoding="utf-8")))
    config["model"]["net"] = {"class_path": f"seg.models.{network['net']}", "init_args": network.get("options", {})}
    config["data"]["init_args"]["root"] = str(options.root.resolve())
    if "lr" in network:
        config["model"]["optimizer"]["init_args"]["lr"] = network["lr"]
    if "batch_size" in network:
        config["data"]["init_args"]["batch_size"] = network["batch_size"]
    seconds = max(1, round(60 * options.minutes))
    config["trainer"]["max_time"] = f"00:{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    # one validation at the end is enough, and is not counted in the time either
    config["trainer"] |= {"check_val_every_n_epoch": 1_000_000, "num_sanity_val_steps": 0}
    return config


def command(*arguments):
    """Run a command of seg and return what it printed.

    Raises:
        RuntimeError: it failed; says its last lines.

    """
    result = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=REPOSITORY)
    if result.returncode:
        raise RuntimeError("\n".join((result.stdout + result.stderr).strip().splitlines()[-5:]))
    return result.stdout


def train(label, network, options):
    """Train one network and return its row."""
    name = re.sub(r"\W+", "_", label.lower()).strip("_")
    path = options.out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(configuration(network, options), sort_keys=False), encoding="utf-8")
    runs = options.out / "runs"
    before = set(runs.glob(f"{name}/*"))
    command("train.py", "--config", path, "--trainer.default_root_dir", runs)
    (run,) = set(runs.glob(f"{name}/*")) - before
    last = run / "checkpoints" / "last.ckpt"
    scores = command("-m", "seg", "validate", "--ckpt_path", last)
    checkpoint = torch.load(last, map_location="cpu", weights_only=True)
    steps = checkpoint["global_step"]
    elapsed = next(state for key, state in checkpoint["callbacks"].items() if "Timer" in key)["time_elapsed"]["train"]
    per_step = elapsed / max(steps, 1)
    config = configuration(network, options)
    batch = config["data"]["init_args"]["batch_size"]
    pictures = sum(bool(line.strip()) for line in (options.root / "train.txt").read_text().splitlines())
    row = {
        "miou": float(re.search(r"^val mIoU (\S+)", scores, re.MULTILINE)[1]),
        "parameters": sum(
            value.numel() for key, value in checkpoint["state_dict"].items() if key.startswith("net.") and learnt(key)
        ),
        "seconds_per_step": per_step,
        "epochs": steps * batch / pictures,
        "batch_size": batch,
        "lr": config["model"]["optimizer"]["init_args"]["lr"],
    }
    last.unlink()  # DeconvNet's alone take 3 GB
    return row


def learnt(name):
    """Tell whether an entry of a state dict is a parameter: all but the statistics of norms."""
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def table(rows, minutes):
    """Return the rows as a table in Markdown, the best first."""
    lines = [f"| network, {minutes:g} minutes | val mIoU | M parameters | s a step | batch | epochs |"]
    lines += ["| --- | --- | --- | --- | --- | --- |"]
    for label, row in sorted(rows.items(), key=lambda item: -item[1]["miou"]):
        lines.append(
            f"| {label} | {row['miou']:.3f} | {row['parameters'] / 1e6:.2f} | {row['seconds_per_step']:.2f} | "
            f"{row['batch_size']} | {row['epochs']:.1f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/CamVid"))
    parser.add_argument("--minutes", type=float, default=3.0, help="of training each; validation is not counted")
    parser.add_argument("--out", type=Path, default=Path("runs/camvid_networks"), help="for configs, runs and results")
    parser.add_argument("--only", nargs="+", metavar="LABEL", choices=NETWORKS, help="some networks alone")
    parser.add_argument("--all", action="store_true", help="the networks of the papers' width, too")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "results.json"
    results = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    rows = results.setdefault(f"{options.minutes:g} minutes", {})
    for label in options.only or (NETWORKS if options.all else LAPTOP):
        if label in rows:
            print(f"{label}: there already", flush=True)
        elif not hasattr(seg.models, NETWORKS[label]["net"]):
            print(f"{label}: seg.models.{NETWORKS[label]['net']} does not exist yet, left out", flush=True)
        else:
            try:
                rows[label] = train(label, NETWORKS[label], options)
            except RuntimeError as error:
                print(f"{label}: failed\n{error}", file=sys.stderr, flush=True)
                continue
            with replacing(kept) as temporary:
                temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            print(f"{label}: val mIoU {rows[label]['miou']:.3f}", flush=True)
    print("\n" + table(rows, options.minutes))


if __name__ == "__main__":
    main()
