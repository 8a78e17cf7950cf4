"""Switch each piece of practitioners' know-how on or off against one baseline: the tables of docs/know-how.md.

Two data sets: CamVid (images at 240×180, scored at 480×360 on the validation split) and the embedded Shapes. All runs
of a table train for the same time, and only training counts. The time is processor time of one process with one thread
(loading and augmentation included), so that runs beside each other, or on a busy machine, get the same. Every run is
one of the real command; its last weights are scored, without choosing the best epoch. Runs that are done are kept in
--out and not repeated, so that a table can be made in pieces.

    python benchmarks/know_how.py --data camvid --root data/CamVid      # about 2 hours on two cores
    python benchmarks/know_how.py --data shapes --seconds 60
    python benchmarks/know_how.py --only baseline MixUp --seeds 0       # two rows alone
    python benchmarks/know_how.py --table                               # what there is so far

Rows that begin with another network's weights, or learn from a teacher, need a run before: it is made once per data
set, in time of its own, and shared by the seeds.
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from pytorch_lightning.trainer.states import RunningStage  # noqa: E402

from benchmarks.know_how_rows import BASELINES, BEFORE, RARE, part, tricks  # noqa: E402
from seg.trainer import TrainingTimer  # noqa: E402


class ProcessorTimer(TrainingTimer):
    """Stop training after seconds of this process' own processor time, validation not counted."""

    def __init__(self, seconds: float) -> None:
        super().__init__({"seconds": seconds})
        self.started = time.process_time()

    def time_elapsed(self, stage=RunningStage.TRAINING):
        return time.process_time() - self.started if stage == RunningStage.TRAINING else 0.0

    def on_train_start(self, trainer, pl_module):
        super().on_train_start(trainer, pl_module)
        self.started = time.process_time()


def configuration(data, settings, seconds, root):
    """Return the baseline's config with the settings of a row."""
    config = copy.deepcopy(BASELINES[data])
    config["trainer"] = {
        "max_epochs": -1,
        "check_val_every_n_epoch": 1_000_000,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "callbacks": [part("benchmarks.know_how.ProcessorTimer", seconds=seconds)],
    }
    # one process reads and trains, so that its clock sees both
    config["data"]["init_args"] |= {"cache": "ram", "num_workers": 0}
    if root is not None:
        config["data"]["init_args"]["root"] = str(root.resolve())
    for name, value in settings.items():
        *branch, leaf = name.rstrip("+").split(".")
        place = config
        for key in branch:
            place = place[key]
        place = place.get("init_args", place)
        place[leaf] = [*place[leaf], *value] if name.endswith("+") else value
    return config


def run(path, seed, result):
    """Train a config and write what its last weights score."""
    from seg.cli import SegCLI
    from seg.errors import quiet
    from seg.files import replacing

    quiet()
    cli = SegCLI(
        "fit", ["--config", str(path), "--seed_everything", str(seed), "--trainer.default_root_dir", str(path.parent)]
    )
    found = cli.model.results["test"]
    row = {
        "miou": float(found["miou"]),
        "iou": dict(zip(cli.model.class_names, found["iou"].tolist(), strict=True)),
        "steps": cli.trainer.global_step,
    }
    with replacing(result) as temporary:
        temporary.write_text(json.dumps(row), encoding="utf-8")


def train(name, config, seed, folder):
    """Run a config in a process of its own, unless its result is there."""
    result, path, log = (folder / f"{seed}.{suffix}" for suffix in ("json", "yaml", "log"))
    if result.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(config, encoding="utf-8")
    command = [sys.executable, __file__, "--run", str(path), str(seed), str(result)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with log.open("w") as file:
        status = subprocess.run(command, stdout=file, stderr=file, env=environment, cwd=REPOSITORY).returncode
    print(f"{name}, seed {seed}: {f'failed, see {log}' if status else 'done'}", flush=True)


def train_before(name, out, options):
    """Make a run that rows build on."""
    times, data, settings = BEFORE[name]
    root = options.root if data is None else None
    config = configuration(data or options.data, settings, times * options.seconds, root)
    train(name, json.dumps(config), 0, out / slug(name))  # JSON is YAML


def train_row(seed, name, settings, there, out, options):
    """Make a run of a row, with the checkpoints of the runs that it builds on in place of their names."""
    config = json.dumps(configuration(options.data, settings, options.seconds, options.root))
    for before, checkpoint in there.items():
        config = config.replace(json.dumps(before), json.dumps(checkpoint))
    train(name, config, seed, out / slug(name))


def checkpoint_of(folder):
    """Return the last weights of the newest version of a run."""
    return max(folder.glob("0/version_*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)


def table(out, data, seeds):
    """Return what there is as a table in Markdown, in the order of the gain over the baseline."""
    rows = {}
    for name in tricks(data):
        found = [json.loads(path.read_text()) for seed in seeds if (path := out / slug(name) / f"{seed}.json").exists()]
        if found:
            rows[name] = found
    if "baseline" not in rows:
        return "no baseline yet"
    base = statistics.mean(row["miou"] for row in rows["baseline"])
    rare = RARE[data]
    lines = [
        f"| {data} | mIoU, mean ± std | gain | IoU of {', '.join(rare)} | steps | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in sorted(rows.items(), key=lambda item: -statistics.mean(row["miou"] for row in item[1])):
        mious = [row["miou"] for row in found]
        spread = f" ± {statistics.stdev(mious):.3f}" if len(mious) > 1 else ""
        mean = statistics.mean(mious)
        few = statistics.mean(row["iou"][label] for row in found for label in rare)
        steps = statistics.mean(row["steps"] for row in found)
        gain = "" if name == "baseline" else f"{mean - base:+.3f}"
        lines.append(f"| {name} | {mean:.3f}{spread} | {gain} | {few:.3f} | {steps:.0f} | {len(found)} |")
    return "\n".join(lines)


def slug(name):
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=BASELINES, default="camvid")
    parser.add_argument("--root", type=Path, help="folder of the data set, where it is not the usual one")
    parser.add_argument("--seconds", type=float, default=90, help="processor time of training, each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs beside each other")
    parser.add_argument("--out", type=Path, default=Path("runs/know_how"))
    parser.add_argument("--only", nargs="+", metavar="ROW")
    parser.add_argument("--table", action="store_true", help="print what there is, and run nothing")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        path, seed, result = options.run
        run(Path(path), int(seed), Path(result))
        return

    rows = tricks(options.data)
    if unknown := set(options.only or ()) - set(rows):
        parser.error(f"--only {', '.join(unknown)}: the rows are {', '.join(rows)}")
    out = options.out.resolve() / f"{options.data}_{options.seconds:g}"
    names = [] if options.table else options.only or list(rows)
    with ThreadPoolExecutor(options.jobs) as pool:
        needed = {name for name in BEFORE for row in names if f'"{name}"' in json.dumps(rows[row])}
        list(pool.map(lambda name: train_before(name, out, options), needed))
        there = {name: str(checkpoint_of(out / slug(name))) for name in needed}
        runs = [(seed, name) for seed in options.seeds for name in names]
        list(pool.map(lambda run: train_row(*run, rows[run[1]], there, out, options), runs))
    print(table(out, options.data, options.seeds))


if __name__ == "__main__":
    main()
