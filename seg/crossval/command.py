"""The `seg crossval` command: a config trained once a fold, each part of the data validated once."""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg.crossval.summary import Summary

PLAN = "crossval.json"
"""What a cross-validation was started with: only the same goes on in its folder."""


def main(argv: list[str] | None = None) -> None:
    """Run `seg crossval`."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        prog="seg crossval",
        allow_abbrev=False,
        usage="seg crossval --config CONFIG --folds N [options] [any setting of seg fit]",
        description="Divide training and validation images into N parts, train N times on all but one, score on that "
        "one. Starting the same command again goes on where it was stopped.",
    )
    parser.add_argument("--folds", type=int, default=5, help="number of parts (default: 5)")
    parser.add_argument(
        "--only", type=int, nargs="+", metavar="K", help="run these folds alone, such as one a machine; from 1"
    )
    parser.add_argument(
        "--checkpoint",
        choices=("best", "last"),
        default="best",
        help="which is scored: best was chosen on the very part that it is scored on, which flatters a little, last "
        "was not (default: best)",
    )
    parser.add_argument("--new", action="store_true", help="start over instead of going on")
    options, settings = parser.parse_known_args(argv)
    quiet()
    told(lambda: crossvalidate(settings, options.folds, options.only, options.checkpoint, options.new), training=True)


def crossvalidate(
    settings: list[str], folds: int, only: list[int] | None = None, checkpoint: str = "best", new: bool = False
) -> "Summary | None":
    """Run the folds that are not done yet; print and write what they say once all are.

    Args:
        settings: as `seg fit` takes them.
        folds: number of parts.
        only: folds to run, from 1; all where not given.
        checkpoint: which is scored, best or last.
        new: start over instead of going on with what was stopped.

    Raises:
        ValueError: fewer than two folds, one that does not exist, or a setting that a cross-validation sets itself.
        FileNotFoundError: no such config.
        SystemExit: a fold failed or was stopped; with its exit status.

    """
    if folds < 2:
        raise ValueError(f"--folds {folds}: at least 2 parts are needed, one to train on and one to score")
    if wrong := [fold for fold in only or [] if not 1 <= fold <= folds]:
        raise ValueError(f"--only {wrong[0]}: the folds are numbered 1 to {folds}")
    root, name, settings = prepared(settings)
    folder = place(root / name, plan(settings, folds, checkpoint), new)
    parts = [folder / f"fold_{fold}" for fold in range(1, folds + 1)]
    from seg.crossval.fold import SCORES, unfinished

    for fold, part in enumerate(parts, start=1):
        if only and fold not in only:
            continue
        if (part / SCORES).exists():
            print(f"fold {fold} of {folds}: done already, {part}", flush=True)
            continue
        going_on = unfinished(part)
        print(f"\nfold {fold} of {folds}" + (f", going on from {going_on}" if going_on else ""), flush=True)
        arguments = [*settings, f"--data.init_args.fold=[{fold},{folds}]", "--data.init_args.val_fraction=null"]
        arguments += ["--ckpt_path", str(going_on)] if going_on else []
        train(part, checkpoint, arguments, group=f"{name}/{folder.name}")

    missing = [part for part in parts if not (part / SCORES).exists()]
    if missing:
        listed = ", ".join(part.name for part in missing)
        print(f"\nnot run yet: {listed}; the scores of all come with the last of them, in {folder}")
        return None
    return conclude(folder, parts)


def prepared(settings: list[str]) -> tuple[Path, str, list[str]]:
    """Return where runs lie, the experiment's name, and settings that mean the same from any folder."""
    import yaml

    from seg import runs
    from seg.arguments import configs_in, expand

    for taken in ("--ckpt_path", "--data.fold", "--data.init_args.fold"):
        if any(word.partition("=")[0] == taken for word in settings):
            raise ValueError(f"{taken}: a cross-validation sets this itself; leave it out")
    if not list(configs_in(settings)):
        raise ValueError("seg crossval: name what is to be trained with --config, such as --config camvid_unet_cpu")
    settings = expand(settings, "fit")
    root, flag = Path("runs"), "--trainer.default_root_dir"
    for path in configs_in(settings):
        trainer = (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}).get("trainer") or {}
        root = Path(trainer.get("default_root_dir") or root)
    for position, word in enumerate(settings):
        if word == flag and position + 1 < len(settings):
            root = Path(settings[position + 1])
        elif word.startswith(f"{flag}="):
            root = Path(word.partition("=")[2])
    return root, runs.run_name(next(configs_in(settings))), settings


def plan(settings: list[str], folds: int, checkpoint: str) -> dict[str, object]:
    """Return what tells two cross-validations apart: settings, the configs' contents, folds, checkpoint."""
    from seg.arguments import configs_in

    contents = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in configs_in(settings)]
    return {"settings": settings, "configs": contents, "folds": folds, "checkpoint": checkpoint}


def place(parent: Path, wanted: dict[str, object], new: bool) -> Path:
    """Return the folder of the newest cross-validation of the same plan, or the next free one.

    A folder appears with its plan in it: of machines that begin at the same time one makes it, the others find it.
    """
    while True:
        numbers = sorted(int(path.name[9:]) for path in parent.glob("crossval_*") if path.name[9:].isdigit())
        for number in reversed(numbers):
            folder = parent / f"crossval_{number}"
            try:
                held = json.loads((folder / PLAN).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # another's folder, or one that never began
            if held == wanted and not new:
                print(f"going on in {folder} (start over with --new)")
                return folder
        folder = parent / f"crossval_{max(numbers, default=-1) + 1}"
        temporary = parent / f".crossval.{uuid.uuid4().hex}.tmp"
        temporary.mkdir(parents=True)
        (temporary / PLAN).write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        try:
            temporary.rename(folder)
            return folder
        except OSError:
            if not folder.exists():
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def train(part: Path, checkpoint: str, arguments: list[str], group: str) -> None:
    """Train and score one fold in a process of its own.

    Raises:
        SystemExit: it failed or was stopped.

    """
    part.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "seg.crossval.fold", str(part), checkpoint, *arguments]
    process = subprocess.Popen(command, env={"WANDB_RUN_GROUP": group, **os.environ})
    # the terminal sends Ctrl-C to the fold, too, which ends after its step; what asks this process alone is passed on
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        status = process.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if status:
        print(f"{part.name} ended with status {status}; the same command goes on from there", file=sys.stderr)
        raise SystemExit(status if status > 0 else 128 - status)


def conclude(folder: Path, parts: list[Path]) -> "Summary":
    """Print and write the scores of all folds."""
    from seg.crossval import summary

    found = summary.summarise(parts)
    paths = summary.write(folder, found)
    print(f"\n{len(parts)} folds, each scored on the part that it did not train on\n{summary.table(found)}")
    for path in paths:
        print(path)
    return found
