"""Check of the learning rate over the whole run, drawn before it begins."""

from collections.abc import Iterator

import numpy as np

from seg.doctor import plots
from seg.doctor.findings import Finding, counted
from seg.doctor.setup import LONGEST, Setup

LONG_WARMUP = 0.5
"""Share of the run within which the highest rate should be reached: a warm-up that never ends trains at no rate."""
MANY = 2000  # points that a picture can show


def schedule(setup: Setup) -> Iterator[Finding]:
    """Follow the task's own optimiser and schedule through the run; find rates that cannot be."""
    rates, total = setup.rates, float(setup.trainer.estimated_stepping_batches)
    timed = not np.isfinite(total)
    across = np.linspace(0, 1, len(rates)) if timed else np.arange(len(rates))
    shown = slice(None, None, -(-len(rates) // MANY))
    # groups that share their rates are one line
    lines: dict[tuple[float, ...], list[str]] = {}
    for group in range(rates.shape[1]):
        lines.setdefault(tuple(rates[shown, group].tolist()), []).append(setup.groups[group])
    series = {f"parameter group {', '.join(names)}": (across[shown].tolist(), line) for line, names in lines.items()}
    setup.pictures["schedule"] = plots.lines(
        "learning rate", series, "share of the time limit" if timed else "optimiser step", "learning rate"
    )
    first, top, last = (float(values.max()) for values in (rates[0], rates, rates[-1]))
    setup.figures["schedule"] = {"steps": None if timed else int(total), "first": first, "highest": top, "last": last}
    steps = "as long as trainer.max_time lasts" if timed else counted(int(total), "optimiser step")
    text = f"{steps}: the rate starts at {first:.3g}, reaches {top:.3g} and ends at {last:.3g}"
    peak = int(rates.max(1).argmax()) / max(1, len(rates) - 1)
    if not np.isfinite(rates).all() or (rates < 0).any() or top == 0:
        yield Finding("schedule", "fail", f"{text}: no network learns at that", "look at model.schedule and the rate")
    elif not timed and total < 1:
        yield Finding("schedule", "fail", "the run has no optimiser step", "raise trainer.max_epochs or max_steps")
    elif peak > LONG_WARMUP and rates.shape[0] > 1:
        yield Finding(
            "schedule",
            "warn",
            f"{text}; the highest rate is reached after {100 * peak:.0f} % of the run",
            "a shorter warm-up: model.schedule's warmup is a share of the run below 1, and steps from 1 on",
        )
    else:
        cut = f" (the first {LONGEST} drawn)" if not timed and total > LONGEST else ""
        yield Finding("schedule", "pass", text + cut)
