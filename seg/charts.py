"""Everything that makes a picture of numbers: curves over the steps and bars over the classes, as uint8 RGB arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from seg.draw import FAINT, INK, PAPER, Colors, frame
from seg.lettering import choose_font, fit_text

Series = Mapping[str, Sequence[tuple[float, float]]]


def curves(panels: Mapping[str, Series], columns: int = 3) -> np.ndarray:
    """Draw lines over the steps, one panel beside the other.

    Args:
        panels: title of a panel -> name of a line -> (step, value) pairs; values that are not finite are left out,
            and so are lines and panels of which nothing is left.
        columns: panels a row.

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kept: dict[str, dict[str, np.ndarray]] = {}
    for title, series in panels.items():
        for name, points in series.items():
            array = np.array(points, dtype=np.float64).reshape(-1, 2)
            array = array[np.isfinite(array).all(axis=1)]
            if len(array):
                kept.setdefault(title, {})[name] = array[np.argsort(array[:, 0], kind="stable")]

    columns = max(1, min(columns, len(kept)))
    rows = max(1, -(-len(kept) // columns))
    # A Figure with a canvas of its own leaves pyplot, and whoever uses it in a notebook, alone.
    figure = Figure(figsize=(5.2 * columns, 3.6 * rows), dpi=110, facecolor=[value / 255 for value in PAPER])
    canvas = FigureCanvasAgg(figure)
    for position, (title, lines) in enumerate(kept.items()):
        axes = figure.add_subplot(rows, columns, position + 1)
        for index, (name, array) in enumerate(lines.items()):
            color = f"C{index}"
            steps, values = array[:, 0], array[:, 1]
            if _noisy(values):  # the noise stays visible behind its running mean
                axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
                values = _running_mean(values, window=len(values) // 40)
            axes.plot(
                steps, values, color=color, linewidth=1.6, marker="o" if len(values) < 30 else "", ms=3, label=name
            )
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _noisy(values: np.ndarray) -> bool:
    """Tell a loss that jumps from step to step from a smooth schedule, which a running mean would only bend."""
    return len(values) > 100 and float(np.abs(np.diff(values, 2)).mean()) > 0.02 * float(np.ptp(values))


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    total = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return np.asarray((total[last] - total[first]) / (last - first))


def per_class_bars(names: Sequence[str], values: Sequence[float], colors: Colors, title: str = "IoU") -> np.ndarray:
    """Draw one bar a class in the class's colour, 0 to 1; classes without a value (NaN) say n/a.

    Args:
        names: one a class.
        values: one a class, 0..1 or NaN.
        colors: one (red, green, blue) a class.
        title: what the values are.

    """
    size, row, wide = 14, 24, 320
    label = min(260, max(round(choose_font(name, size)[1].getlength(name)) for name in names) + 2)
    canvas = Image.new("RGB", (label + wide + 80, row * len(names) + row), PAPER)
    draw = ImageDraw.Draw(canvas)
    heading, font = choose_font(title, size)
    draw.text((label + 8, 3), heading, fill=FAINT, font=font)
    for index, (name, value, color) in enumerate(zip(names, values, colors, strict=True)):
        top = row * (index + 1)
        text, font = fit_text(name, size, label)
        draw.text((0, top + 3), text, fill=INK, font=font)
        draw.rectangle((label + 8, top + 4, label + 8 + wide, top + row - 4), fill=(232, 232, 230))
        known = value == value
        if known and value > 0:
            end = label + 8 + round(wide * min(float(value), 1.0))
            draw.rectangle((label + 8, top + 4, end, top + row - 4), fill=tuple(color), outline=FAINT)
        number, font = choose_font(f"{value:.3f}" if known else "n/a", size)
        draw.text((label + wide + 18, top + 3), number, fill=INK if known else FAINT, font=font)
    return frame(np.array(canvas))
