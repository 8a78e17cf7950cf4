"""Check of who waits for whom: the network for the loader, or the loader for the network."""

import statistics
import time
from collections.abc import Iterator

import torch

from seg.doctor.findings import Finding
from seg.doctor.setup import Setup, Training

BATCHES = 6
"""Batches that are timed, after the first, for which workers are started and files are found."""
SHARE = 0.1
STEPS = 3
WAITS = 1.1
"""Times as long as a step that a batch may take: a tenth is the noise of the clock."""


def speed(setup: Setup) -> Iterator[Finding]:
    """Time batches of the loader alone and training steps alone."""
    loading, workers = _loading(setup)
    if not loading:
        yield Finding("loader", "skip", "the epoch has a single batch, so that nothing could be timed")
        return
    batch, stepping, scaled = statistics.median(loading), *step_seconds(setup)
    setup.figures["loader"] = {"batch_seconds": batch, "step_seconds": stepping, "workers": workers}
    about = "about " if scaled else ""
    text = (
        f"a batch takes {1000 * batch:.0f} ms to load ({workers} workers), a step {about}{1000 * stepping:.0f} ms"
        f"{', scaled up from smaller crops' if scaled else ''}"
    )
    if batch > WAITS * stepping:
        cached = "" if setup.data.cache != "none" else "data.cache: ram or disk, "
        yield Finding(
            "loader",
            "warn",
            f"{text}: the network waits {100 * (1 - stepping / batch):.0f} % of the time",
            f"{cached}more data.num_workers where there are cores, smaller files (data.resize before the run), fewer "
            "and cheaper transforms",
        )
    else:
        yield Finding("loader", "pass", f"{text}: the loader is ready before the network")


def _loading(setup: Setup) -> tuple[list[float], int]:
    """Return the seconds that batches took to come, and the number of workers."""
    loader = setup.data.train_dataloader()
    end = setup.clock.until(SHARE)
    times: list[float] = []
    begin = time.monotonic()
    iterator = iter(loader)
    # the workers' queue is full after the first wait: only the whole tells the pace
    for count, _ in enumerate(iterator):
        if count == 0:
            begin = time.monotonic()
            continue
        times.append((time.monotonic() - begin) / count)
        if count >= BATCHES + 2 * loader.num_workers or time.monotonic() > end:
            break
    del iterator  # ends the workers
    return times[-1:], loader.num_workers


def step_seconds(setup: Setup) -> tuple[float, bool]:
    """Return the seconds of a training step on a whole batch, and whether they are scaled up from smaller crops."""
    few = setup.few
    small = _timed(setup, few)
    pixels = setup.batch["image"].shape
    ratio = pixels[0] * pixels[2] * pixels[3] / (few["image"].shape[0] * few["image"][0, 0].numel())
    if small * ratio * (STEPS + 1) > SHARE * setup.clock.seconds:
        return small * ratio, True
    return _timed(setup, setup.on_device(setup.batch)), False


def _timed(setup: Setup, batch: dict[str, object]) -> float:
    with setup.restored():
        training = Training(setup)
        training.step(batch, 0.0)
        _wait(setup)
        begin = time.monotonic()
        for _ in range(STEPS):
            training.step(batch, 0.0)
        _wait(setup)
        return (time.monotonic() - begin) / STEPS


def _wait(setup: Setup) -> None:
    if setup.trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()
