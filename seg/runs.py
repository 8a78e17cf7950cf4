"""Run folders: `runs/<config name>/<version>/`, how they are named, made and found again."""

import os
import re
from contextlib import suppress
from pathlib import Path

from seg import jobs
from seg.files import replacing

LAST, PREVIOUS, BEST = "last.ckpt", "last-previous.ckpt", "best.ckpt"
ENVIRONMENT = "SEG_RUN_FOLDER"
"""Carries the folder from the first process of a run to the others that it starts."""
MARK = "job"
"""The file in a run folder that names the job which trains there; only jobs that something may start again have one."""


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
    return parent / f"version_{number}"


def run_folder(checkpoint: Path | None, root: Path, name: str, job: jobs.Job | None = None) -> Path:
    """Return the folder of the coming run, the same in all of its processes.

    That of the checkpoint it resumes from, of the job's attempt before this one, or a new one.

    Args:
        checkpoint: what is resumed from, if anything.
        root: of all runs.
        name: of the experiment.
        job: of which this process is a part, if any; its first process decides.

    Raises:
        PermissionError: the folder can't be made or written; the cure is named.

    """
    # what Lightning has started inherits the folder; the processes of a job may inherit that of another run
    if job is None and (given := os.environ.get(ENVIRONMENT)) and os.environ.get("LOCAL_RANK", "0") != "0":
        return Path(given)

    def decide() -> str:
        own = run_of(checkpoint) if checkpoint else None
        if own is not None and not all(os.access(place, os.W_OK) for place in (own, own / "checkpoints")):
            raise PermissionError(
                f"{own}: a resumed run goes on in its folder, which this user may not write; copy the folder to where "
                "you may and give the --ckpt_path there, or begin a new run with its weights: --model.init_from"
            )
        folder = own or attempt(root, name, job) or new_run(root, name)
        if job is not None and job.identity:
            with replacing(folder / MARK) as temporary:
                temporary.write_text(job.identity, encoding="utf-8")
        return str(folder)

    folder = os.environ[ENVIRONMENT] = jobs.agree(job, "run folder", decide)
    return Path(folder)


def forget(folder: Path) -> None:
    """Remove a run folder into which nothing has been written, its mark aside."""
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {MARK}:
            (folder / MARK).unlink(missing_ok=True)
            folder.rmdir()


def attempt(root: Path, name: str, job: jobs.Job | None) -> Path | None:
    """Return the run folder in which a job was training before it was started again, if it was."""
    if job is None or not job.restarts:
        return None
    marks = [mark for mark in (root / name).glob(f"version_*/{MARK}") if mark.read_text("utf-8") == job.identity]
    return max(marks, key=lambda mark: mark.stat().st_mtime).parent if marks else None


def started_again(root: Path, name: str, job: jobs.Job | None = None) -> str | None:
    """Return `last.ckpt` of a job that was started again, which may be damaged or gone where another is there; or None.

    Args:
        root: of all runs.
        name: of the experiment.
        job: of which this process is a part, if any; its first process decides.

    """

    def decide() -> str:
        folder = attempt(root, name, job)
        checkpoints = folder / "checkpoints" if folder else None
        if checkpoints is None or not any((checkpoints / kind).is_file() for kind in (LAST, PREVIOUS, BEST)):
            return ""
        print(f"the job was started again: going on from {checkpoints / LAST}", flush=True)
        return str(checkpoints / LAST)

    return (jobs.agree(job, "attempt", decide) if job is not None and job.restarts else "") or None


def last_checkpoint(root: Path, name: str, job: jobs.Job | None = None) -> Path:
    """Return the `last.ckpt` of the newest run of an experiment, the same in all processes of a job.

    It may be gone where the one before it is there.

    Raises:
        FileNotFoundError: no run of that name has one.

    """

    def newest() -> str:
        return str(
            max((root / name).glob("*/checkpoints/last*.ckpt"), key=lambda path: path.stat().st_mtime, default="")
        )

    found = jobs.agree(job, "last checkpoint", newest)
    if not found:
        raise FileNotFoundError(
            f"--ckpt_path last: no run of '{name}' has a checkpoint, looked for {root / name}/*/checkpoints/last.ckpt; "
            "leave --ckpt_path out to start one"
        )
    return Path(found).with_name(LAST)


def finished(root: str | Path, name: str) -> list[Path]:
    """Return the run folders of an experiment that were trained and tested to their end, the newest last."""
    folders = [path for path in Path(root, name).glob("version_*") if path.name[8:].isdigit()]
    parts = ("checkpoints/best.ckpt", "records/test.json")
    return sorted(
        (folder for folder in folders if all((folder / part).is_file() for part in parts)),
        key=lambda folder: int(folder.name[8:]),  # by number: version_10 comes after version_9
    )


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, or None where it lies elsewhere."""
    folder = checkpoint.resolve().parent.parent
    if checkpoint.resolve().parent.name == "checkpoints" and (folder / "config.yaml").exists():
        return Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    return None
