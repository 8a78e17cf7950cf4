"""Is this set-up able to learn? Brings a run to its first step, and there, instead of it, runs every check."""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer

from seg.data.base import SegmentationData
from seg.doctor.checks.augmentation import augmentation
from seg.doctor.checks.field import field as objects
from seg.doctor.checks.gradients import gradients
from seg.doctor.checks.labels import labels, of_data
from seg.doctor.checks.layers import layers, norms
from seg.doctor.checks.memory import memory
from seg.doctor.checks.outset import first_loss, raw_logits
from seg.doctor.checks.overfit import overfit, permuted
from seg.doctor.checks.rate import rate
from seg.doctor.checks.schedule import schedule
from seg.doctor.checks.shapes import pixels, shapes
from seg.doctor.checks.speed import speed
from seg.doctor.findings import Finding, Severity, worst
from seg.doctor.setup import Clock, Setup
from seg.task import SegmentationTask

Check = Callable[[Setup], Iterator[Finding]]

CHECKS: dict[str, tuple[str, Check]] = {
    "labels": ("labels are classes, none shifted", labels),
    "schedule": ("the learning rate over the whole run, drawn", schedule),
    "augmentation": ("mask and image stay together, no label is invented", augmentation),
    "shapes": ("a logit for each class and pixel", shapes),
    "input": ("images reach the network normalised", pixels),
    "logits": ("logits are raw", raw_logits),
    "loss": ("the first loss is that of who knows nothing", first_loss),
    "gradients": ("a finite gradient for every parameter", gradients),
    "layers": ("activations and gradients neither vanish nor explode", layers),
    "norms": ("running statistics follow", norms),
    "objects": ("stride and receptive field suit the objects", objects),
    "rate": ("learning-rate range test", rate),
    "overfit": ("eight samples are learnt by heart", overfit),
    "permuted": ("shuffled labels cannot be foretold", permuted),
    "loader": ("who waits for whom", speed),
    "memory": ("largest batch that fits", memory),
}
"""Name of a check -> what it looks at, and the function; the order is that in which they run."""


@dataclass(frozen=True)
class RunReport:
    """Hold an examination's outcome.

    Args:
        title: name of the config.
        about: the set-up in one line.
        findings: one or more of each check, in the order of `CHECKS`.
        pictures: file name without suffix -> picture.
        figures: what was measured, plain values.
        seconds: that it took.

    """

    title: str
    about: str
    findings: list[Finding]
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def verdict(self) -> Severity:
        """The worst of all findings."""
        return worst(self.findings)

    def plain(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return {
            "format": 1,
            "config": self.title,
            "setup": self.about,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 1),
            "findings": [finding.plain() for finding in self.findings],
            "figures": self.figures,
        }


class _Examined(Exception):
    """The examination is over; raised, so that the run whose first step it replaces ends there."""


class _Examination(Callback):
    """Run the checks where training would begin.

    Args:
        setup: gets trainer, task and data as the run has prepared them.
        names: of the checks.
        tell: is given every finding as it is made.

    """

    def __init__(self, setup: Setup, names: Collection[str], tell: Callable[[Finding], None]) -> None:
        self.setup_, self.names, self.tell = setup, names, tell
        self.findings: list[Finding] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Examine.

        Raises:
            _Examined: always.

        """
        # what a step logs has no place to go to
        pl_module.log = lambda *_, **__: None  # type: ignore[method-assign]
        pl_module.train()
        for name in self.names:
            self.run(name)
        raise _Examined

    def run(self, name: str) -> None:
        """Run a check, unless the time is over or nothing passes through the network; its errors are findings."""
        broken = any(f.check == "shapes" and f.severity == "fail" for f in self.findings)
        if broken and name not in ("labels", "schedule", "augmentation"):
            self.add(Finding(name, "skip", "not looked at: shapes must pass first"))
        elif self.setup_.clock.left <= 0:
            self.add(Finding(name, "skip", "not looked at: the time is over", "give more time with --seconds"))
        else:
            try:
                for finding in CHECKS[name][1](self.setup_):
                    self.add(finding)
            except Exception as error:  # whatever a broken set-up raises is what we are here to tell
                self.add(
                    Finding(name, "fail", f"could not be run: {told(error)}", "the run would end in this error too")
                )

    def add(self, finding: Finding) -> None:
        """Keep a finding, and tell it."""
        self.findings.append(finding)
        self.tell(finding)


def examine_run(
    trainer: Trainer,
    task: SegmentationTask,
    data: SegmentationData,
    title: str,
    seconds: float = 120.0,
    names: Collection[str] = tuple(CHECKS),
    missing_weights: str = "",
    tell: Callable[[Finding], None] = lambda _: None,
) -> RunReport:
    """Examine a set-up; whatever is wrong with it is not an error here, but a finding.

    Args:
        trainer: Lightning's, that neither logs nor saves; it is spent afterwards.
        task: network, loss, optimiser; its weights are as before afterwards.
        data: the data module.
        title: what the set-up is called in the report.
        seconds: that it may take, a bound for what can be cut short.
        names: of the checks to run.
        missing_weights: why weights that the config names could not be had.
        tell: is given every finding as it is made.

    """
    if data.cache == "disk":
        data.cache = "none"  # half a cache on the disk would be all that stays of this
    # what a compiled network computes is the same, and the checks want to look inside
    compiled, task.compiled = task.compiled, False
    setup = Setup(trainer, task, data, Clock(seconds))
    setup.random_weights = bool(missing_weights)
    examination = _Examination(setup, [name for name in CHECKS if name in names], tell)
    if missing_weights:
        text = f"examined with random ones: {missing_weights.splitlines()[0]}"
        examination.add(Finding("weights", "warn", text, "rates and first loss of the real run will differ"))
    # before all others, some of which refuse to go without a logger
    trainer.callbacks.insert(0, examination)  # type: ignore[attr-defined]
    try:
        trainer.fit(task, datamodule=data)
    except _Examined:
        pass
    except Exception as error:
        if "train" in data.datasets and "labels" in names:  # the likeliest reason, and its cure
            with suppress(Exception):  # files that cannot be read, which is what the error tells
                for finding in of_data(data):
                    examination.add(finding)
        examination.add(Finding("start", "fail", f"the run does not reach its first step: {told(error)}"))
    finally:
        task.__dict__.pop("log", None)
        task.compiled = compiled
    parameters = sum(parameter.numel() for parameter in task.net.parameters())
    about = (
        f"{type(task.net).__name__}, {parameters / 1e6:.2f} M parameters · {type(task.loss).__name__} · "
        f"{type(data).__name__} in {data.root}, {data.num_classes} classes, batch {data.batch_size} · "
        f"{trainer.precision} on {trainer.strategy.root_device}"
    )
    took = setup.clock.seconds - setup.clock.left
    return RunReport(title, about, examination.findings, setup.pictures, setup.figures, took)


def told(error: BaseException) -> str:
    """Return an error's kind, message and the line that raised it, short."""
    frames = extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:400]}{where}"
