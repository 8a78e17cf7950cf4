"""Eight samples must be learnt by heart; and labels that chance has shuffled must not be foretold on others."""

import copy
import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from seg.data.classes import IGNORE
from seg.data.dataset import Pair, Pairs, Reader
from seg.doctor import plots
from seg.doctor.findings import Finding
from seg.doctor.setup import SAMPLES, Batch, Setup, Training
from seg.metrics import SegmentationMetrics
from seg.task import SegmentationTask

ENOUGH = 0.95
"""mIoU from which on the samples are learnt."""
STEPS = 400
"""Steps in which a network of any of the shipped kinds does so at a usual rate."""
WARMUP = 10
"""Steps in which the rate rises: nearly all optimisers need a few to know their moments."""
EVERY = 10
SHARE = 0.4
PROGRESS = 0.9
"""Share of its value to which the loss must have fallen over the last third of the steps to be called falling."""

CONTROL_STEPS, CONTROL_SHARE = 80, 0.15
MARGIN = 0.1
"""mIoU above that of who knows each image's most frequent label: less may be luck, of eight crops."""
BLOCK = 4
"""Side in pixels of the blocks that are shuffled: single pixels are too fine for networks that decide in cells."""


def overfit(setup: Setup) -> Iterator[Finding]:
    """Train on eight samples with the configured optimiser at its highest rate until they are known by heart."""
    samples = setup.learnable
    present = len({*samples["mask"].unique().tolist()} - {IGNORE})
    number = len(samples["image"])
    if present < 2:
        yield Finding("overfit", "skip", f"the crops of {number} samples hold {present} class: nothing to tell apart")
        return
    losses: list[float] = []
    scores: list[tuple[int, float]] = []
    end = setup.clock.until(SHARE)
    with setup.restored(), unmixed(setup.task):
        training = Training(setup)
        while training.steps < STEPS and time.monotonic() < end:
            losses.append(training.step(samples, min(1.0, (training.steps + 1) / WARMUP)))
            if not math.isfinite(losses[-1]):
                break
            if training.steps % EVERY == 0:
                scores.append((training.steps, setup.score(samples)))
                if scores[-1][1] > ENOUGH:
                    break
        if not scores or scores[-1][0] != training.steps:
            scores.append((training.steps, setup.score(samples)))
        taught = _training_score(setup, samples) if scores[-1][1] <= ENOUGH else 1.0
    steps, best = scores[-1][0], max(score for _, score in scores)
    setup.figures["overfit"] = {
        "steps": steps,
        "miou": best,
        "classes": present,
        "first": losses[0],
        "last": losses[-1],
    }
    setup.pictures["overfit"] = plots.lines(
        f"{number} samples, learnt by heart",
        {"loss": (list(range(1, len(losses) + 1)), losses), "mIoU": tuple(zip(*scores, strict=True))},  # type: ignore[dict-item]
        "optimiser step",
        "",
    )
    yield _verdict(setup, losses, steps, best, taught, present, number)


@contextmanager
def unmixed(task: SegmentationTask) -> Iterator[None]:
    """Let batches be as they are: mixed anew at every step, eight samples are more than eight."""
    mixing, task.mixing = task.mixing, None
    try:
        yield
    finally:
        task.mixing = mixing


def _verdict(
    setup: Setup, losses: list[float], steps: int, best: float, taught: float, present: int, number: int
) -> Finding:
    text = (
        f"mIoU {best:.3f} of {present} classes after {steps} steps on crops of {number} samples, "
        f"loss {losses[0]:.3g} → {losses[-1]:.3g}"
    )
    if best > ENOUGH:
        return Finding("overfit", "pass", text)
    if not math.isfinite(losses[-1]):
        return Finding(
            "overfit", "fail", f"{text}: training diverges", "a lower learning rate, see rate; gradient clipping"
        )
    third = max(1, len(losses) // 3)
    before, last = float(np.mean(losses[-2 * third : -third] or losses[:1])), float(np.mean(losses[-third:]))
    falling = last < PROGRESS * before if before > 0 else last < before
    if steps < STEPS and (falling or steps < STEPS // 4):
        cut = f"{text}: cut short after {100 * SHARE:.0f} % of the time, still learning" if falling else (
            f"{text}: cut short after {100 * SHARE:.0f} % of the time")  # fmt: skip
        return Finding("overfit", "skip", cut, "give more time with --seconds")
    if taught > ENOUGH:
        return Finding(
            "overfit",
            "fail",
            f"{text}; {taught:.3f} in training mode: evaluation computes something else than training",
            "norms: running statistics that do not follow (momentum, frozen), or dropout that is not switched off",
        )
    if falling:
        return Finding(
            "overfit",
            "warn",
            f"{text}: not learnt in {steps} steps, but still falling",
            "a higher learning rate, see rate; less dropout and weight decay; a loss that weighs rare classes",
        )
    return Finding(
        "overfit",
        "fail",
        f"{text}: the network does not even learn {number} samples by heart",
        "see rate, gradients and layers; where they pass, look whether the masks belong to the images, and whether a "
        "strong weight decay, dropout or a tiny rate holds it back",
    )


def _training_score(setup: Setup, samples: Batch) -> float:
    """Return the mIoU with the norms and dropout of training."""
    metrics = SegmentationMetrics(setup.data.num_classes, setup.data.ignore_index)
    with torch.no_grad():
        setup.task.train()
        metrics.update(setup.logits(samples).max(1).indices.cpu(), samples["mask"].cpu())
    return float(metrics.compute()["miou"])


# ---- the control


def permuted(setup: Setup) -> Iterator[Finding]:
    """Train on shuffled labels; whoever foretells those of held-out images has been shown them.

    The labels are shuffled where masks are read, so that whatever is made of them later, be it a crop that follows an
    object or an image that is cut out along its mask, is made of the shuffled ones. Known of a held-out image can at
    most be how its pixels are shared among the classes, since shuffling keeps that.
    """
    train, held_out = (
        setup.crops(with_reader(setup.data.datasets[split], _ShuffledMask), SAMPLES) for split in ("train", "val")
    )
    end = setup.clock.until(CONTROL_SHARE)
    with setup.restored():
        training = Training(setup)
        while training.steps < CONTROL_STEPS and time.monotonic() < end:
            training.step(train, min(1.0, (training.steps + 1) / WARMUP))
        steps, score = training.steps, setup.score(held_out)
    luck = _constant_score(setup, held_out)
    setup.figures["permuted"] = {"steps": steps, "miou": score, "known_shares": luck}
    text = (
        f"after {steps} steps on shuffled labels, mIoU {score:.3f} on {len(held_out['image'])} held-out crops; "
        f"{luck:.3f} is had by knowing each image's most frequent class"
    )
    if score > luck + MARGIN:
        yield Finding(
            "permuted",
            "fail",
            f"{text}: labels that nothing in a photo tells are foretold, so they leak into what the network sees",
            "look for images that are made with the help of their masks (cut out, cropped, drawn over), for a band "
            "that holds them, and for samples that are in both splits",
        )
    elif steps < CONTROL_STEPS // 2:
        yield Finding("permuted", "skip", f"{text}; cut short, which proves nothing", "give more time with --seconds")
    else:
        yield Finding("permuted", "pass", text)


class _ShuffledMask(Reader):
    """Shuffle the blocks of every mask, by an order that its content decides."""

    def mask(self, pair: Pair) -> np.ndarray:
        """Return the mask's values, shuffled."""
        mask = super().mask(pair)
        seed = int.from_bytes(hashlib.sha256(mask.tobytes()).digest()[:8], "little")
        return shuffled(mask, BLOCK, np.random.default_rng(seed))


def shuffled(mask: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    """Return a mask (H, W) whose blocks have changed places; what is left at the right and lower border stays."""
    rows, columns = mask.shape[0] // side, mask.shape[1] // side
    inner = mask[: rows * side, : columns * side].reshape(rows, side, columns, side).swapaxes(1, 2)
    blocks = inner.reshape(rows * columns, side, side)[random.permutation(rows * columns)]
    result = mask.copy()
    result[: rows * side, : columns * side] = (
        blocks.reshape(rows, columns, side, side).swapaxes(1, 2).reshape(rows * side, columns * side)
    )
    return result


def with_reader(dataset: Pairs, kind: type[Reader], **changes: Any) -> Pairs:
    """Return the data set with a reader that does more: `kind` stands before the reader's own class; nothing cached."""
    reader = copy.copy(dataset.reader)
    reader.__class__ = type(kind.__name__, (kind, type(reader)), {})
    changed = copy.copy(dataset)
    changed.reader, changed.cache = reader, None
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _constant_score(setup: Setup, batch: Batch) -> float:
    """Return the mIoU of who gives all pixels of an image its most frequent class."""
    metrics = SegmentationMetrics(setup.data.num_classes, setup.data.ignore_index)
    masks = batch["mask"].cpu()
    for mask in masks:
        counts = mask[mask != setup.data.ignore_index].long().bincount(minlength=1)
        metrics.update(torch.full_like(mask, int(counts.argmax()))[None], mask[None])
    return float(metrics.compute()["miou"])
