"""What training and evaluation print: everything, one JSON object for scripts, or the final line alone."""

import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor

HELP = (
    "For scripts: --json prints one JSON object with scores and paths as the last line on stdout and all else on "
    "stderr; --quiet prints errors and the final line alone."
)
"""For --help: these two belong to no configuration, and are taken out of the arguments before those are parsed."""


@dataclass(frozen=True)
class Output:
    """Say what is wanted on which stream.

    Args:
        quiet: only errors and the final line.
        json: the final line is one JSON object; all else goes to stderr.
        stdout: where the final line goes.

    """

    quiet: bool = False
    json: bool = False
    stdout: TextIO | None = None

    @contextmanager
    def directed(self) -> Iterator[None]:
        """Send what is printed meanwhile where it is wanted."""
        if self.quiet:
            # errors come as exceptions; warnings and W&B's lines are no errors
            os.environ["WANDB_SILENT"] = "true"
            with open(os.devnull, "w", encoding="utf-8") as nothing, redirect_stdout(nothing), _only_errors():
                yield
        elif self.json:
            with redirect_stdout(sys.stderr):
                yield
        else:
            yield

    def finish(self, command: str, found: Mapping[str, Any]) -> None:
        """Print the final line, where one was asked for.

        Args:
            command: fit, validate or test.
            found: `split`, `scores` and whatever else is told, see `described`.

        """
        if self.json:
            line = json.dumps({"command": command, **found}, ensure_ascii=False, allow_nan=False)
        elif self.quiet:
            scores = found.get("scores") or {}
            score = f"{found.get('split')} mIoU {scores['miou']:.4f}" if scores.get("miou") is not None else "done"
            line = " · ".join([score, *([found["checkpoint"]] if found.get("checkpoint") else [])])
        else:
            return
        print(line, file=self.stdout or sys.stdout, flush=True)


@contextmanager
def _only_errors() -> Iterator[None]:
    """Leave out warnings, and log lines below errors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def taken(argv: Sequence[str]) -> tuple[list[str], Output]:
    """Return the arguments without --quiet and --json, and what those ask for."""
    given = {flag: flag in argv for flag in ("--quiet", "--json")}
    rest = [word for word in argv if word not in given]
    return rest, Output(given["--quiet"], given["--json"], sys.stdout)


def described(results: Mapping[str, Tensor] | None, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the scores of a stage as plain values: single numbers, and those of each class by its name; null for n/a.

    Args:
        results: what a stage has measured, see `seg.metrics.scores`; None where it did not take place.
        names: one a class.

    """
    if results is None:
        return None
    found: dict[str, Any] = {}
    for name, value in results.items():
        if value.ndim == 0:
            found[name] = _plain(value.item())
        elif value.ndim == 1 and len(value) == len(names):
            found[name] = dict(zip(names, map(_plain, value.tolist()), strict=True))
    return found


def outcome(cli: Any) -> dict[str, Any]:
    """Return what a finished `SegCLI` tells scripts: the scores of its last stage, and where everything lies."""
    stage = "val" if cli.subcommand == "validate" else "test"
    data, run = cli.datamodule, cli.run
    found: dict[str, Any] = {
        "split": getattr(data, "test_split_name", stage) if stage == "test" else stage,
        "scores": described(cli.model.results.get(stage), cli.model.class_names),
    }
    if cli.subcommand != "fit" or run is None:
        return {**found, **paths({"checkpoint": cli.checkpoint})}
    score = getattr(cli.trainer.checkpoint_callback, "best_model_score", None)
    places = {"run": run, "checkpoint": cli.judged, "last_checkpoint": run / "checkpoints" / "last.ckpt"}
    places |= {"config": run / "config.yaml", "metrics": run / "metrics.csv"}
    return {
        **found,
        "best_val_miou": None if score is None else _plain(float(score)),
        "steps": cli.trainer.global_step,
        "epochs": cli.trainer.current_epoch,
        **paths(places),
    }


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def paths(places: Mapping[str, Path | None]) -> dict[str, str | None]:
    """Return the places that exist as absolute paths, null for those that do not."""
    return {name: str(path.resolve()) if path is not None and path.exists() else None for name, path in places.items()}
