"""Train the demo's U-Net on Shapes with each loss for the same few epochs, and see what the rare class gains.

Every run is `python train.py --config shapes_unet.yaml` with another `model.loss` and fewer epochs; the last weights
are scored on the test split. Printed is a markdown table: mIoU, and IoU, recall and precision of the rarest class,
means over the seeds. Runs that are done are kept in --out and not repeated: the table can be made in pieces.

    python benchmarks/shapes_losses.py                       # all losses, one seed: about 20 minutes on 2 quiet cores
    python benchmarks/shapes_losses.py --only CE Dice --seeds 0 1 2
"""

import argparse
import contextlib
import io
import json
import statistics
import time
from pathlib import Path

from seg.cli import SegCLI
from seg.errors import quiet
from seg.files import replacing


def loss(name, **settings):
    return {"class_path": f"seg.losses.{name}", "init_args": settings}


LOSSES = {
    "CE": loss("CrossEntropy"),
    "CE, auto weights": loss("CrossEntropy", class_weights="auto"),
    "CE, hard examples": loss("CrossEntropy", hard_below=0.7, min_hard=1000),
    "CE, smoothing 0.1": loss("CrossEntropy", label_smoothing=0.1),
    "Focal γ = 2": loss("Focal"),
    "Focal γ = 2, auto alpha": loss("Focal", alpha="auto"),
    "Dice": loss("Dice"),
    "Jaccard": loss("Jaccard"),
    "Tversky β = 0.5": loss("Tversky", alpha=0.5, beta=0.5),
    "Tversky β = 0.7": loss("Tversky", alpha=0.3, beta=0.7),
    "Tversky β = 0.9": loss("Tversky", alpha=0.1, beta=0.9),
    "Lovász": loss("Lovasz"),
    "CE + Dice": loss("Sum", terms={"ce": loss("CrossEntropy"), "dice": loss("Dice")}),
}


def train(setting, epochs, seed, root, data):
    """Train and test once; returns the scores that the table shows, and the seconds."""
    arguments = ["--config", "shapes_unet", "--model.loss", json.dumps(setting), "--seed_everything", str(seed)]
    # validated once, at the end: best.ckpt is then the last, and no loss profits from a lucky epoch
    arguments += ["--trainer.max_epochs", str(epochs), "--trainer.check_val_every_n_epoch", str(epochs)]
    arguments += ["--trainer.default_root_dir", str(root), "--data.root", str(data)]
    start = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        cli = SegCLI("fit", arguments)
    result = cli.model.results["test"]
    rare = int(result["confusion"].sum(1).argmin())
    return {
        "rare": cli.model.class_names[rare],
        "mIoU": float(result["miou"]),
        **{name: float(result[name][rare]) for name in ("iou", "recall", "precision")},
        "seconds": time.monotonic() - start,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=LOSSES, default=list(LOSSES), metavar="LOSS")
    parser.add_argument("--data", type=Path, default=Path("data/shapes"))
    parser.add_argument("--out", type=Path, default=Path("runs/shapes_losses"))
    options = parser.parse_args()
    quiet()
    kept = options.out / f"{options.epochs}_epochs.json"
    done = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for seed in options.seeds:
        for name in options.only:
            key = f"{name}, seed {seed}"
            if key not in done:
                done[key] = train(LOSSES[name], options.epochs, seed, options.out, options.data)
                print(key, json.dumps(done[key]), flush=True)
                with replacing(kept) as temporary:
                    temporary.write_text(json.dumps(done, indent=2, ensure_ascii=False), encoding="utf-8")

    rows = {name: [done[f"{name}, seed {seed}"] for seed in options.seeds] for name in options.only}
    rare = next(iter(rows.values()))[0]["rare"]
    print(f"\n{options.epochs} epochs, test split, means over {len(options.seeds)} seeds (smallest to largest)\n")
    print(f"| loss | mIoU | {rare}: IoU | {rare}: recall | {rare}: precision | s a run |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, runs in rows.items():
        cells = [spread([run[column] for run in runs]) for column in ("mIoU", "iou", "recall", "precision")]
        print(f"| {name} | {' | '.join(cells)} | {statistics.mean(run['seconds'] for run in runs):.0f} |")


def spread(values):
    text = f"{statistics.mean(values):.3f}"
    return text if len(values) == 1 else f"{text} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
