"""Run folders: `runs/<config name>/<version>/`, how they are named, made and found again."""

import os
import re
from pathlib import Path

ENVIRONMENT = "SEG_RUN_FOLDER"
"""Carries the folder from the first process of a run to the others that it starts."""


def run_name(config: str | Path | None) -> str:
    """Return the name of the experiment that a config file describes: its stem, or that of the run it was saved by."""
    if config is None:
        return "unnamed"
    path = Path(config)
    if path.stem == "config" and re.fullmatch(r"version_\d+", path.parent.name):
        return path.resolve().parent.parent.name
    return path.stem


def new_run(root: Path, name: str) -> Path:
    """Make the next free folder `root/name/version_<n>`.

    Raises:
        PermissionError: the folder can't be made; the cure is named.

    """
    if (given := os.environ.get(ENVIRONMENT)) and os.environ.get("LOCAL_RANK", "0") != "0":
        return Path(given)
    parent = root / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.name[8:]) for path in parent.glob("version_*") if path.name[8:].isdigit()]
        number = max(numbers, default=-1) + 1
        while True:  # another run may take the number at the same moment
            try:
                (parent / f"version_{number}").mkdir()
                break
            except FileExistsError:
                number += 1
    except OSError as error:
        raise PermissionError(
            f"cannot make a run folder in {parent}: {error.strerror or error}; "
            "choose another place with --trainer.default_root_dir"
        ) from error
    folder = parent / f"version_{number}"
    os.environ[ENVIRONMENT] = str(folder)
    return folder


def last_checkpoint(root: Path, name: str) -> Path:
    """Return the `last.ckpt` of the newest run of an experiment.

    Raises:
        FileNotFoundError: no run of that name has one.

    """
    found = sorted((root / name).glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path last: no run of '{name}' has a checkpoint, looked for {root / name}/*/checkpoints/last.ckpt; "
            "leave --ckpt_path out to start one"
        )
    return found[-1]


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, or None where it lies elsewhere."""
    folder = checkpoint.resolve().parent.parent
    if checkpoint.resolve().parent.name == "checkpoints" and (folder / "config.yaml").exists():
        return Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    return None
