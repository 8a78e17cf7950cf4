"""Everything that makes a picture of numbers: curves, confusion matrices, bars over classes, histograms.

Arrays come in and uint8 RGB arrays (H, W, 3) go out. Drawn by matplotlib on canvases of their own, so that pyplot and
its settings, and whoever uses them in a notebook, are left alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from seg.colors import safe_colors
from seg.figures import figure, lettering, percent, rendered, short, shown
from seg.layout import FAINT, INK, Colors

Series = Mapping[str, Sequence[tuple[float, float]]]

LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#46464e")
"""Colours of curves, Okabe and Ito's."""
STYLES = ("-", "--", ":", "-.")
"""How lines are drawn, one after the other, where there are more of them than colours."""
NAMED = 16
"""Lines of a panel that its legend has room for."""
WRITTEN = 25
"""Classes up to which a confusion matrix has its figures written into the cells."""


def curves(panels: Mapping[str, Series], columns: int = 3) -> np.ndarray:
    """Draw lines over the steps, one panel beside the other.

    Args:
        panels: title of a panel -> name of a line -> (step, value) pairs; values that are not finite are left out,
            and so are lines and panels of which nothing is left.
        columns: panels a row.

    """
    kept: dict[str, dict[str, np.ndarray]] = {}
    for title, series in panels.items():
        for name, points in series.items():
            array = np.array(points, dtype=np.float64).reshape(-1, 2)
            array = array[np.isfinite(array).all(axis=1)]
            if len(array):
                kept.setdefault(title, {})[name] = array[np.argsort(array[:, 0], kind="stable")]

    columns = max(1, min(columns, len(kept)))
    rows = max(1, -(-len(kept) // columns))
    drawn = figure(5.2 * columns, 3.6 * rows)
    for position, (title, lines) in enumerate(kept.items()):
        axes = drawn.add_subplot(rows, columns, position + 1)
        for index, array in enumerate(lines.values()):
            color, style = LINES[index % len(LINES)], STYLES[index // len(LINES) % len(STYLES)]
            steps, values = array[:, 0], array[:, 1]
            if _noisy(values):  # the noise stays visible behind its running mean
                axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
                values = _running_mean(values, window=len(values) // 40)
            marker = "o" if len(values) < 30 else ""
            axes.plot(steps, values, color=color, linestyle=style, linewidth=1.6, marker=marker, ms=3, label="line")
        axes.set_title(shown(title), **lettering(11))
        axes.set_xlabel("step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        # named afterwards: a label that begins with "_" would be left out, one with "$" taken for a formula
        many = len(lines) > len(LINES)  # the legend would lie on them, and beyond the panel
        beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "handlelength": 3.2} if many else {}
        if len(lines) > NAMED:
            beside |= {"title": f"{NAMED} of {len(lines)} lines", "title_fontsize": 8}
        drawn_lines = axes.get_legend_handles_labels()[0][:NAMED]
        legend = axes.legend(drawn_lines, ["line"] * len(drawn_lines), fontsize=8, frameon=False, **beside)
        for text, name in zip(legend.get_texts(), lines, strict=False):
            text.update({**lettering(8), "text": shown(name, 24 if many else 80)})
    return rendered(drawn)


def _noisy(values: np.ndarray) -> bool:
    """Tell a loss that jumps from step to step from a smooth schedule, which a running mean would only bend."""
    return len(values) > 100 and float(np.abs(np.diff(values, 2)).mean()) > 0.02 * float(np.ptp(values))


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    total = np.cumsum(np.concatenate([[0.0], values]))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return np.asarray((total[last] - total[first]) / (last - first))


def confusion_matrix(
    matrix: np.ndarray, names: Sequence[str], normalize: Literal["truth", "prediction"] | None = "truth"
) -> np.ndarray:
    """Draw a confusion matrix; up to 25 classes with the figures in the cells.

    Args:
        matrix: (C, C) counts of pixels, rows = truth, columns = prediction.
        names: one a class.
        normalize: "truth" divides each row by its sum (recall on the diagonal), "prediction" each column (precision);
            None shows the counts, coloured by their logarithm. Rows and columns without pixels stay empty.

    Raises:
        ValueError: the matrix is not (C, C), or `normalize` is something else.

    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"confusion_matrix: a matrix of {matrix.shape} for {len(names)} class names")
    if normalize not in ("truth", "prediction", None):
        raise ValueError(f"confusion_matrix: normalize {normalize!r}, expected 'truth', 'prediction' or None")
    shares = _shares(matrix, normalize)
    classes = len(names)
    # a cell holds its figure where there is one, and a line of letters where there are many
    side = (5.0 if classes <= 8 else 0.5 * classes) if classes <= WRITTEN else max(8.0, 0.115 * classes)
    letters = 9.0 if classes <= WRITTEN else 6.5
    drawn = figure(side + 2.6, side + 2.2)
    axes = drawn.add_subplot()
    scaled = shares if normalize else np.log10(np.where(shares > 0, shares, np.nan))
    top = 1.0 if normalize else max(1.0, float(np.nan_to_num(scaled, nan=0.0).max(initial=0.0)))
    picture = axes.imshow(np.ma.masked_invalid(scaled), cmap="Blues", vmin=0.0, vmax=top, interpolation="nearest")
    axes.set_facecolor("#ececea")
    for setter, turned in ((axes.set_xticks, True), (axes.set_yticks, False)):
        setter(range(classes), [shown(name, 28) for name in names], **lettering(letters))
        if turned:
            for label in axes.get_xticklabels():
                label.update({"rotation": 90 if classes > 4 or max(map(len, names)) > 10 else 0})
    axes.set_xlabel("prediction", fontsize=10)
    axes.set_ylabel("truth", fontsize=10)
    titles = {"truth": "share of each true class", "prediction": "share of each predicted class", None: "pixels"}
    axes.set_title(titles[normalize], fontsize=11)
    if classes <= WRITTEN:
        least = 0.0 if classes <= 8 else 0.005 if normalize else 0.5  # where there are many, zeros are noise
        for (row, column), value in np.ndenumerate(shares):
            if value >= least:
                color = "white" if scaled[row, column] > 0.6 * top else "black"
                text = f"{value:.2f}".removeprefix("0") if normalize else short(value)
                cell = axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
                cell.set_in_layout(False)  # within the axes anyway, and measuring each takes longer than drawing it
    bar = drawn.colorbar(picture, ax=axes, pad=0.02, shrink=0.8, aspect=30)
    bar.ax.tick_params(labelsize=8)
    if not normalize:
        powers = list(range(int(top) + 1))
        bar.set_ticks(powers, labels=[short(10.0**power) for power in powers])
    return rendered(drawn)


def _shares(matrix: np.ndarray, normalize: str | None) -> np.ndarray:
    """Return the matrix divided by its rows' or columns' sums, NaN where that is 0."""
    if normalize is None:
        return matrix
    whole = matrix.sum(axis=1 if normalize == "truth" else 0, keepdims=True)
    whole = np.broadcast_to(whole, matrix.shape)
    return np.asarray(np.divide(matrix, whole, out=np.full_like(matrix, np.nan), where=whole > 0))


def class_bars(
    iou: Sequence[float],
    names: Sequence[str],
    frequency: Sequence[float] | None = None,
    colors: Colors | None = None,
    title: str = "IoU",
) -> np.ndarray:
    """Draw one bar a class, 0 to 1; classes without a value (NaN) say n/a.

    Args:
        iou: one a class, 0..1 or NaN where a class is absent.
        names: one a class.
        frequency: share of the pixels of each class, 0..1, written beside its name.
        colors: one (red, green, blue) a class; safe for colour-blind eyes where not given.
        title: what the values are.

    Raises:
        ValueError: not one value (and frequency, and colour) a class.

    """
    colors = safe_colors(len(names)) if colors is None else colors
    for what, given in (("values", iou), ("frequencies", frequency), ("colors", colors)):
        if given is not None and len(given) != len(names):
            raise ValueError(f"class_bars: {len(given)} {what} for {len(names)} class names")
    labels = [shown(name, 40) for name in names]
    if frequency is not None:
        labels = [f"{label}  ({percent(share)})" for label, share in zip(labels, frequency, strict=True)]
    return _bars(
        labels,
        [float(value) for value in iou],
        colors,
        title,
        [f"{value:.3f}" if value == value else "n/a" for value in iou],
        1.0,
    )


def frequencies(counts: Sequence[float], names: Sequence[str], colors: Colors | None = None) -> np.ndarray:
    """Draw how the pixels are spread over the classes: one bar a class, its length the logarithm of its share.

    Args:
        counts: pixels of each class; classes without any say so.
        names: one a class.
        colors: one (red, green, blue) a class; safe for colour-blind eyes where not given.

    Raises:
        ValueError: not one count a class.

    """
    if len(counts) != len(names):
        raise ValueError(f"frequencies: {len(counts)} counts for {len(names)} class names")
    total = max(float(np.sum(counts)), 1.0)
    shares = [float(count) / total for count in counts]
    # six powers of ten: one pixel in a million is where a bar begins
    lengths = [max(0.0, math.log10(share) + 6) if share > 0 else math.nan for share in shares]
    written = [percent(share) if share > 0 else "none" for share in shares]
    colors = safe_colors(len(names)) if colors is None else colors
    ticks = {power + 6.0: f"{10.0 ** (power + 2):.{max(0, -power - 2)}f} %" for power in range(-6, 1)}
    return _bars([shown(name, 40) for name in names], lengths, colors, "share of the pixels", written, 6.0, ticks)


def histogram(
    values: Sequence[float], bins: int = 20, title: str = "", low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """Draw how values are spread, such as the IoU of the images of a split; the median is marked.

    Args:
        values: any number of them; those that are not finite are left out.
        bins: bars between `low` and `high`; values beyond are counted in the outermost.
        title: what the values are.
        low: left end of the axis.
        high: right end of the axis.

    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    drawn = figure(5.6, 3.4)
    axes = drawn.add_subplot()
    counts, edges = np.histogram(np.clip(array, low, high), bins=bins, range=(low, high))
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color="#0072b2", edgecolor="white", linewidth=0.6)
    if len(array):
        axes.axvline(float(np.median(array)), color="#d55e00", linewidth=1.5)
    axes.set_xlim(low, high)
    axes.set_ylim(0, max(1, int(counts.max())) * 1.08)
    middle = f"{len(array)} values, median {np.median(array):.3f}" if len(array) else "no values"
    axes.set_xlabel(middle, fontsize=9)
    axes.set_title(shown(title), **lettering(11))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return rendered(drawn)


def _bars(
    labels: Sequence[str],
    values: Sequence[float],
    colors: Colors,
    title: str,
    written: Sequence[str],
    top: float,
    ticks: Mapping[float, str] | None = None,
) -> np.ndarray:
    drawn = figure(7.5, 0.24 * len(labels) + 1.0)
    axes = drawn.add_subplot()
    rows = np.arange(len(labels))
    axes.barh(rows, [top] * len(labels), height=0.72, color="#e8e8e6")
    lengths = [min(value, top) if value == value else 0.0 for value in values]
    axes.barh(rows, lengths, height=0.72, color=[tuple(c / 255 for c in color[:3]) for color in colors])
    axes.set_yticks(rows, labels, **lettering(9))
    for row, (value, text) in enumerate(zip(values, written, strict=True)):
        color = [part / 255 for part in (INK if value == value else FAINT)]
        axes.text(top * 1.015, row, text, va="center", fontsize=9, color=color)
    axes.set_xlim(0, top)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(length=0, labelsize=9)
    if ticks:
        axes.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.set_title(shown(title), **lettering(11))
    axes.spines[:].set_visible(False)
    return rendered(drawn)
