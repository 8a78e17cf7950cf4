"""Curves over something else than steps: learning rates, layers; with logarithmic axes and marks where asked for."""

from collections.abc import Mapping, Sequence

import numpy as np

from seg.draw import PAPER


def lines(
    title: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    across: str,
    up: str,
    log: str = "",
    marks: Mapping[str, float] | None = None,
    names: Sequence[str] = (),
) -> np.ndarray:
    """Draw lines as a picture, uint8 (H, W, 3).

    Args:
        title: of the picture.
        series: name of a line -> positions across, values up; what is not finite leaves a gap.
        across: what lies on the horizontal axis.
        up: what lies on the vertical axis.
        log: the axes with a logarithmic scale: "", "x", "y" or "xy".
        marks: label -> position across of a vertical line.
        names: one for each of the positions 0, 1, … across, written below where there is room.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # a Figure with a canvas of its own leaves pyplot, and whoever uses it in a notebook, alone
    figure = Figure(figsize=(9, 4.2), dpi=110, facecolor=[value / 255 for value in PAPER])
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if "x" in log:
        axes.set_xscale("log")
    if "y" in log:
        axes.set_yscale("log")
    for index, (name, (positions, values)) in enumerate(series.items()):
        shown = np.asarray(values, np.float64)
        if "y" in log:
            shown = np.where(shown > 0, shown, np.nan)
        marker = "o" if len(shown) < 30 else ""
        axes.plot(positions, shown, color=f"C{index}", linewidth=1.5, marker=marker, ms=3, label=name)
    for index, (label, position) in enumerate((marks or {}).items()):
        axes.axvline(position, color=f"C{index + len(series)}", linestyle="--", linewidth=1.2, label=label)
    if names:
        shown_at = range(0, len(names), -(-len(names) // 40))
        axes.set_xticks(list(shown_at), [names[index][-28:] for index in shown_at], rotation=60, ha="right")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.tick_params(labelsize=6 if names else 8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
