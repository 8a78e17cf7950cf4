"""Learning-rate range test (Smith 2017, section 3.3): the rate rises at every step until the loss does too."""

import math
import time
from collections.abc import Iterator

import numpy as np

from seg.doctor import plots
from seg.doctor.findings import Finding
from seg.doctor.setup import SAMPLES, Setup, Training, taken

DECADES = 3
"""Powers of ten below and above the configured rate that are tried."""
PER_DECADE = 12
"""Steps in each: Lightning's finder takes 100 for 8 of them."""
SMOOTH = 0.7
"""Share of the running mean that a step leaves: losses of different crops jump."""
STOP = 4.0
"""Times the lowest loss at which it is over, as in Lightning's finder (early_stop_threshold)."""
LEARNT = 0.03
"""Share by which the loss must fall somewhere: less is the noise of the crops."""
RISEN = 0.25
"""Share of its fall that the loss may rise again before another fall, as hard pixels alone make, is no learning."""
SLOW = 300.0
"""Times below the suggestion: range tests are right within a factor of ten or so, and fine-tuning wants another."""
SHARE = 0.2

DUEL_STEPS, DUEL_SHARE = 24, 0.15
"""Steps of each side of the duel, and the time for both."""
HUNDREDTH = 0.01
"""A rate that is not too high learns more in a few steps than its hundredth does."""
WORSE = 1.05
"""Times the loss of the hundredth, over the last third of the steps, from which on it is worse."""


def rate(setup: Setup) -> Iterator[Finding]:
    """Find the rates at which the loss falls and at which it grows, and where the configured one lies between them.

    A loop of its own instead of Lightning's finder: that one begins a fit, gives all parameter groups one rate, and
    knows no limit of time.
    """
    base = float(setup.rates.max())
    steps = 2 * DECADES * PER_DECADE + 1
    factors = np.logspace(-DECADES, DECADES, steps)
    pool = len(setup.pool["image"])
    size = min(SAMPLES, pool)
    losses: list[float] = []
    smooth: list[float] = []
    mean, end = 0.0, setup.clock.until(SHARE)
    cut = False
    with setup.restored():
        training = Training(setup)
        for step, factor in enumerate(factors):
            if cut := time.monotonic() > end:
                break
            first = step * size % max(1, pool - size + 1)
            loss = training.step(taken(setup.pool, slice(first, first + size)), float(factor))
            if not math.isfinite(loss):
                break
            losses.append(loss)
            mean = SMOOTH * mean + (1 - SMOOTH) * loss
            smooth.append(mean / (1 - SMOOTH ** (step + 1)))
            if smooth[-1] > STOP * min(smooth):
                break
    if cut and len(smooth) <= 2 * DECADES * PER_DECADE / 2 + PER_DECADE // 2:
        text = f"cut short after {len(smooth)} of {steps} steps, before it could tell"
        yield Finding("rate", "skip", text, "give more time with --seconds")
        return
    curve = np.array(smooth)
    rates = factors[: len(curve)] * base
    beginning = float(curve[: PER_DECADE // 2].mean())
    least = np.minimum.accumulate(curve)
    risen = np.flatnonzero((least <= (1 - LEARNT) * beginning) & (curve - least > RISEN * (beginning - least)))
    lowest = int(curve[: risen[0] if len(risen) else None].argmin())
    grown = np.flatnonzero(curve[lowest:] >= beginning) + lowest
    limit = float(rates[grown[0]]) if len(grown) else (None if len(curve) == steps or cut else float(rates[-1]))
    slopes = np.gradient(curve[: lowest + 1]) if lowest >= 2 else np.zeros(1)
    suggestion = float(rates[int(slopes.argmin())])
    fallen = curve[lowest] <= (1 - LEARNT) * beginning
    marks = {"configured": base, **({"suggested": suggestion} if fallen else {})}
    setup.pictures["range_test"] = plots.lines(
        "learning-rate range test",
        {"loss": (rates.tolist(), losses), "running mean": (rates.tolist(), smooth)},
        "learning rate",
        "loss",
        log="x",
        marks=marks,
    )
    setup.figures["rate"] = {"configured": base, "suggested": suggestion if fallen else None, "grows_from": limit}
    own, slow = _duel(setup)
    setup.figures["rate"] |= {"loss_at_configured": own, "loss_at_hundredth": slow}
    found = f"the loss falls fastest at {suggestion:.2g}" + (f" and has grown back at {limit:.2g}" if limit else "")
    if not fallen:
        yield Finding(
            "rate",
            "fail",
            f"between {rates[0]:.2g} and {rates[-1]:.2g} no rate makes the loss fall by {100 * LEARNT:.0f} %",
            "see gradients and layers; where they pass, the images may not show what the masks say",
        )
    elif limit is not None and base >= limit:
        cure = f"model.optimizer's lr: {suggestion:.1g}, or a tenth of {limit:.1g}"
        yield Finding("rate", "fail", f"at the configured {base:.3g} training diverges: {found}", cure)
    elif own is not None and slow is not None and not own <= WORSE * slow:
        yield Finding(
            "rate",
            "fail",
            f"the configured {base:.3g} is too high: after {DUEL_STEPS} steps the loss is {own:.3g}, at a hundredth of "
            f"it {slow:.3g}; {found}",
            f"model.optimizer's lr: {min(suggestion, base / 10):.1g}",
        )
    elif base * SLOW < suggestion:
        yield Finding(
            "rate",
            "warn",
            f"the configured {base:.3g} is far below: {found}",
            "raise it, unless a trained network is tuned",
        )
    elif own is None or slow is None:
        text = f"configured {base:.3g}: {found}; there was no time to compare it with a hundredth"
        yield Finding("rate", "skip", text, "give more time with --seconds")
    else:
        yield Finding("rate", "pass", f"configured {base:.3g}: {found}")


def _duel(setup: Setup) -> tuple[float | None, float | None]:
    """Return the loss after some steps on the same samples at the configured rate and at its hundredth.

    A sweep alone does not show a rate that is too high where norms make the network blind to the size of its weights:
    the loss stays where earlier, lower rates have brought it. None where there was no time.
    """
    end = setup.clock.until(DUEL_SHARE)
    ends: list[float | None] = []
    for factor in (1.0, HUNDREDTH):
        with setup.restored():
            training, losses = Training(setup), [0.0]
            while training.steps < DUEL_STEPS and math.isfinite(losses[-1]) and time.monotonic() < end:
                losses.append(training.step(setup.few, factor))
        done = training.steps == DUEL_STEPS or not math.isfinite(losses[-1])
        ends.append(float(np.mean(losses[-DUEL_STEPS // 3 :])) if done else None)
    return ends[0], ends[1]
