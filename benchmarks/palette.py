"""How far apart the colours of classes are, for normal and colour-blind eyes; how the table of seg/colors.py was made.

    python benchmarks/palette.py            # the closest two colours of seg, Pascal VOC's map, matplotlib's tab10
    python benchmarks/palette.py --make     # choose the 255 colours again and compare with the table

Distances are Euclidean in CIELAB (D65). Protanopia and deuteranopia are simulated in linear RGB as by Machado,
Oliveira and Fernandes 2009, severity 1 (https://doi.org/10.1109/TVCG.2009.113).
"""

import argparse
import itertools
from collections.abc import Sequence

import numpy as np

from seg.colors import Color, safe_colors
from seg.convert.palette import VOID_COLOR, voc_colors
from seg.draw import PAPER

DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
FIRST: list[Color] = [(70, 70, 78), (230, 159, 0), (86, 180, 233), (0, 158, 115)]
TAB10 = "1f77b4 ff7f0e 2ca02c d62728 9467bd 8c564b e377c2 7f7f7f bcbd22 17becf"


def seen(colors: Sequence[Sequence[int]]) -> np.ndarray:
    """Return colours (N, 3) in CIELAB as normal, protanopic and deuteranopic eyes see them: (3, N, 3)."""
    values = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    views = [linear, *(np.clip(linear @ np.array(matrix).T, 0, 1) for matrix in DEFICIENCIES.values())]
    return np.stack([_lab(view) for view in views])


def _lab(linear: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / [0.95047, 1.0, 1.08883]
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def closest(colors: Sequence[Sequence[int]]) -> list[float]:
    """Return the distance of the closest two colours under each kind of vision: normal, protanopia, deuteranopia."""
    views = seen(colors)
    distances = np.linalg.norm(views[:, :, None] - views[:, None], axis=3)
    distances[:, range(len(colors)), range(len(colors))] = np.inf
    return [float(value) for value in distances.min(axis=(1, 2))]


def choose(number: int) -> list[Color]:
    """Return colours, each farthest from those before it."""
    steps = range(0, 256, 15)
    candidates = np.array(list(itertools.product(steps, steps, steps)))
    views = seen(candidates)
    kept = (views[0, :, 0] > 22) & (views[0, :, 0] < 88)
    candidates, views = candidates[kept], views[:, kept]

    def distance(color: Sequence[int]) -> np.ndarray:
        return np.asarray(np.linalg.norm(views - seen([color]), axis=2).min(axis=0))

    chosen = list(FIRST)
    nearest = np.min([distance(color) for color in [*FIRST, VOID_COLOR, PAPER]], axis=0)
    while len(chosen) < number:
        red, green, blue = candidates[nearest.argmax()].tolist()
        chosen.append((red, green, blue))
        nearest = np.minimum(nearest, distance(chosen[-1]))
    return chosen


def main() -> None:
    """Print the table of distances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", action="store_true", help="choose the colours again and compare with the table")
    if parser.parse_args().make:
        same = choose(255) == safe_colors(255)
        print("".join(f"{r:02x}{g:02x}{b:02x}" for r, g, b in choose(255)), "as in the table" if same else "DIFFERS")
    tab10 = [tuple(bytes.fromhex(color)) for color in TAB10.split()]
    print(f"{'classes':<10}{'palette':<10}{'normal':>10}{'protanopia':>14}{'deuteranopia':>14}")
    for number in (4, 8, 12, 20, 60, 255):
        for name, colors in {"seg": safe_colors(number), "VOC": voc_colors(number), "tab10": tab10[:number]}.items():
            if len(colors) == number:
                normal, protan, deutan = closest(colors)
                print(f"{number:<10}{name:<10}{normal:>10.1f}{protan:>14.1f}{deutan:>14.1f}")


if __name__ == "__main__":
    main()
