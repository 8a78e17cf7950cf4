"""What all charts share: a canvas that is not pyplot's, letters of any script, figures short enough for a label."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seg.layout import PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
# The first comes with matplotlib; each draws scripts that the ones before it lack.
FAMILIES = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Arial Unicode MS", "PingFang SC", "Microsoft YaHei")


def figure(width: float, height: float) -> Figure:
    """Return an empty figure on paper, its size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor=[value / 255 for value in PAPER], layout="constrained")


def rendered(drawn: Figure) -> np.ndarray:
    """Return a figure as uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawn)  # its own: pyplot and the backend that it has chosen are left alone
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def lettering(size: float) -> dict[str, Any]:
    """Return how a text that users wrote is drawn: in fonts that have its letters, dollars as they are."""
    return {"fontsize": size, "fontfamily": [name for name, _ in _fonts()], "parse_math": False}


def shown(text: str, longest: int = 80) -> str:
    """Return a text with "?" for letters that no font has, cut and dotted where it is longer than `longest`."""
    text = "".join(character if character.isprintable() else " " for character in text)
    if len(text) > longest:
        text = text[: longest - 1].rstrip() + "…"
    return "".join(character if _drawn(character) else "?" for character in text)


def short(count: float) -> str:
    """Return a count in at most five characters: 950, 12k, 3.4M."""
    for power, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= power:
            return f"{count / power:.1f}{unit}" if count < 10 * power else f"{count / power:.0f}{unit}"
    return f"{count:.0f}"


def percent(share: float) -> str:
    """Return a share of 0..1 in per cent, with two significant digits below ten."""
    value = 100 * share
    if value == 0 or value >= 9.95:
        return f"{value:.0f} %"
    return (
        f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f} %".replace(".0 %", " %") if value > 9e-7 else "<1e-6 %"
    )


@cache
def _fonts() -> list[tuple[str, Any]]:
    from matplotlib import font_manager

    # asking for a family that is not there would warn
    there = set(font_manager.get_font_names())
    names = [name for name in FAMILIES if name in there]
    return [(name, font_manager.get_font(font_manager.findfont(name))) for name in names]


@cache
def _drawn(character: str) -> bool:
    return any(font.get_char_index(ord(character)) for _, font in _fonts())
