"""Converting many files: in parallel, each whole or not at all, going on where an earlier run stopped."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from seg.files import replacing

SETTINGS_FILE = ".conversion.json"
"""Beside the output: the settings it was made with, so that a run with others does not take it for its own."""


class Skip(Exception):
    """A file that is left out; the message says why, without naming the file."""


class Job(NamedTuple):
    """What one call of a conversion reads and writes.

    `inputs` are the files read, the one that gives its name to messages first; `targets` the files written, whole or
    not at all (see `seg.files.replacing`); `data` is whatever else the conversion needs, picklable.
    """

    inputs: tuple[Path, ...]
    targets: tuple[Path, ...]
    data: Any = None


@dataclass
class Summary:
    """What a conversion did: files written, found done, left out (with the reason), and failed (with the error)."""

    written: list[Path] = field(default_factory=list)
    done: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    notes: dict[Path, list[str]] = field(default_factory=dict)

    def text(self, what: str) -> str:
        """Return the lines for a terminal: counts, then every file left out, failed or remarked on, in order."""
        head = f"{len(self.written)} {what} written"
        head += f", {len(self.done)} found done" if self.done else ""
        head += f", {len(self.skipped)} left out" if self.skipped else ""
        head += f", {len(self.failed)} failed" if self.failed else ""
        lines = [head]
        lines += [f"note: {path}: {note}" for path, notes in sorted(self.notes.items()) for note in notes]
        lines += [f"left out: {path}: {reason}" for path, reason in sorted(self.skipped.items())]
        lines += [f"failed: {_with_file(path, error)}" for path, error in sorted(self.failed.items())]
        return "\n".join(lines)


def convert_all(
    jobs: Sequence[Job],
    convert: Callable[[Job], Sequence[str] | None],
    out: Path,
    settings: Any = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Run a conversion over many files; one bad file does not stop the rest.

    Args:
        jobs: one a call; no two may write the same file.
        convert: a function of a module's top level, which runs in worker processes: writes the job's targets and
            returns remarks for the summary, if any. Raises `Skip` for a file to leave out, ValueError or OSError for
            one that cannot be converted.
        out: folder that everything is written below.
        settings: what the output depends on beside the inputs, of plain numbers, texts, lists and dicts.
        workers: processes; one a core where not given, 0 or 1 converts in this process.
        overwrite: convert what is done already, too. Done is what was written after its inputs were last changed, by
            a conversion of the same settings.

    Raises:
        ValueError: two jobs would write the same file, or one would replace a file that is read.

    """
    _refuse_collisions(jobs)
    key = hashlib.sha256(json.dumps([convert.__qualname__, settings], sort_keys=True).encode()).hexdigest()
    known = out / SETTINGS_FILE
    same = known.is_file() and json.loads(known.read_text(encoding="utf-8")) == {"settings": key}
    if not same:
        with replacing(known) as temporary:
            temporary.write_text(json.dumps({"settings": key}), encoding="utf-8")
    since = known.stat().st_mtime_ns  # what is older was made with other settings
    summary, left = Summary(), []
    for job in jobs:
        if not overwrite and _is_done(job, since):
            summary.done.append(job.inputs[0])
        else:
            left.append(job)

    from tqdm import tqdm

    for job, outcome in tqdm(_run(left, convert, workers), total=len(left), disable=not sys.stderr.isatty()):
        source = job.inputs[0]
        if isinstance(outcome, Skip):
            summary.skipped[source] = str(outcome)
        elif isinstance(outcome, Exception):
            summary.failed[source] = str(outcome)
        else:
            summary.written.append(source)
            if outcome:
                summary.notes[source] = list(outcome)
    summary.written.sort()
    return summary


def _run(
    jobs: list[Job], convert: Callable[[Job], Sequence[str] | None], workers: int | None
) -> Iterator[tuple[Job, Sequence[str] | Exception | None]]:
    """Yield each job with its remarks or its error, in any order."""
    workers = min(os.cpu_count() or 1 if workers is None else workers, len(jobs))
    if workers <= 1:
        yield from ((job, _outcome(convert, job)) for job in jobs)
        return
    # Not forked: OpenCV's threads do not survive it. Nothing here imports torch, so that starting costs little.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_outcome, convert, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _outcome(convert: Callable[[Job], Sequence[str] | None], job: Job) -> Sequence[str] | Exception | None:
    try:
        return convert(job)
    except (Skip, ValueError, OSError) as error:
        return error


def _is_done(job: Job, since: int) -> bool:
    """Tell whether all targets are there, and newer than all inputs and than `since`, in nanoseconds."""
    try:
        made = min(path.stat().st_mtime_ns for path in job.targets)
        return made >= max(since, *(path.stat().st_mtime_ns for path in job.inputs))
    except OSError:
        return False


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    writers: dict[Path, Path] = {}
    read = {path.resolve() for job in jobs for path in job.inputs}
    for job in jobs:
        for target in job.targets:
            place = target.resolve()
            if place in read:
                raise ValueError(f"--out: {target} would replace a file that is read; give another folder")
            if (other := writers.setdefault(place, job.inputs[0])) != job.inputs[0]:
                raise ValueError(
                    f"{other} and {job.inputs[0]} would both be written as {target}; rename one of them, "
                    "or convert their folders one at a time"
                )


def _with_file(path: Path, error: str) -> str:
    return error if str(path) in error else f"{path}: {error}"
