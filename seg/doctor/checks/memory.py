"""Largest batch that fits: tried on a GPU, estimated on a CPU from what a step of one and of two images takes."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from pytorch_lightning.utilities.memory import garbage_collection_cuda, is_oom_error

from seg.doctor.findings import Finding
from seg.doctor.setup import Batch, Setup, Training
from seg.models.profile import free_bytes, peak_allocated

ROOM = 0.8
"""Share of the free memory that an estimate hands out: loaders, caches and fragments take the rest."""
LARGEST = 1024
"""Batch beyond which nothing is tried."""
HEAVY = 0.1
"""Share of the time that a step may take to be measured at full size."""
_MIB = 2**20


def memory(setup: Setup) -> Iterator[Finding]:
    """Find the largest batch of the configured size that a training step has room for."""
    configured = setup.data.batch_size
    if setup.trainer.strategy.root_device.type == "cuda":
        largest, text, cut = _tried(setup)
        if cut and largest < configured:
            yield Finding("memory", "skip", f"batch_size {configured}: {text}", "give more time with --seconds")
            return
    else:
        free = free_bytes()
        if free is None:
            yield Finding("memory", "skip", "this system does not tell how much memory is free")
            return
        one, fixed = _measured(setup)
        largest = max(0, int((ROOM * free - fixed) / one))
        text = (
            f"estimated, not tried: a step takes {fixed / _MIB:.0f} MiB and {one / _MIB:.1f} an image, "
            f"{free / _MIB:.0f} MiB are free, so that about {largest} fit"
        )
    setup.figures["memory"] = {"largest_batch": largest, "configured": configured}
    if largest < configured:
        yield Finding(
            "memory",
            "fail" if largest < configured / 2 else "warn",
            f"batch_size {configured}: {text}",
            f"data.batch_size: {max(1, largest)} with trainer.accumulate_grad_batches, a smaller crop, bf16-mixed",
        )
    else:
        yield Finding("memory", "pass", f"batch_size {configured}: {text}")


def _tried(setup: Setup) -> tuple[int, str, bool]:
    """Return the largest batch whose step fits on the GPU, what to say of it, and whether time cut the search short."""
    batch = setup.on_device(setup.batch)
    refused: list[int] = []
    least = 1 if setup.task.mixing is None else 2  # a single image has no other to be mixed with

    def fits(size: int) -> bool:
        try:
            with setup.restored():
                Training(setup).step(repeated(batch, max(size, least)), 0.0)
            return True
        except RuntimeError as error:
            if not is_oom_error(error):
                raise
            refused.append(size)
            return False
        finally:
            garbage_collection_cuda()

    largest = largest_that(fits, lambda: setup.clock.left > 0)
    cut = not refused and largest < LARGEST
    more = ", and there was no time for more" if cut else " (and more)" if largest == LARGEST else ""
    return largest, f"tried on the GPU: a step of {largest} fits{more}", cut


def largest_that(fits: Callable[[int], bool], go_on: Callable[[], bool] = lambda: True) -> int:
    """Return the largest size up to `LARGEST` that fits, 0 for none: doubled until one does not, then halved between.

    Args:
        fits: tells whether a size does.
        go_on: false ends the search with what is known by then.

    """
    good, bad = 0, LARGEST + 1
    size = 1
    while size < bad and go_on():
        if fits(size):
            good = size
        else:
            bad = size
        size = min(2 * good, LARGEST) if bad > LARGEST and good < LARGEST else (good + bad) // 2
        if size == good:
            break
    return good


def repeated(batch: Batch, size: int) -> Batch:
    """Return a batch of another size, its samples repeated where they do not suffice."""
    tensors = {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}
    known = len(next(iter(tensors.values())))
    return {name: torch.cat([value] * -(-size // known))[:size] for name, value in tensors.items()}


def _measured(setup: Setup) -> tuple[float, float]:
    """Return bytes that a training step takes for each image at its full size, and for all together."""
    from seg.doctor.checks.speed import step_seconds

    seconds, _ = step_seconds(setup)
    full = setup.batch["image"].shape
    batch = setup.on_device(setup.batch)
    ratio = 1.0
    if 4 * seconds / full[0] > HEAVY * setup.clock.seconds:
        batch = setup.few
        ratio = full[2] * full[3] / batch["image"][0, 0].numel()
    with setup.restored():
        training = Training(setup)
        training.step(repeated(batch, 2), 0.0)  # the optimiser's state is made by the first step
        state = sum(
            value.nbytes
            for held in training.optimizer.state.values()
            for value in held.values()
            if isinstance(value, torch.Tensor)
        )
        peaks = []
        for size in (2, 4):
            part = repeated(batch, size)
            training.optimizer.zero_grad(set_to_none=True)
            peaks.append(peak_allocated(partial(training.step, part, 0.0)))
    one = max(1.0, (peaks[1] - peaks[0]) / 2)
    # weights are held already, and so not among what is free
    return one * ratio, max(0.0, peaks[0] - 2 * one) + state
