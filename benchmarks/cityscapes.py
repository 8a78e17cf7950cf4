"""Measure Cityscapes polygons to labelTrainIds PNG files, beside cityscapesScripts' json2labelImg.

    python benchmarks/cityscapes.py --root data/cityscapes [--files 50] [--repeats 7]

One process, one core, CPU time, which other load on the machine moves least. Both convert the same files in turns; a
stage's time is the median of its repeats, averaged over the files. On the right, the labelIds that each draws are
compared with those that the data set brings. cityscapesScripts is no dependency: install it into an environment of your
own.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from seg.convert.cityscapes import draw, read_annotation
from seg.convert.png import write_grey

Convert = Callable[[Path, Path, str, list[float]], None]


def ours(source: Path, target: Path, kind: str, clock: list[float]) -> None:
    annotation = read_annotation(source)
    clock.append(time.process_time())
    mask = draw(annotation, kind)
    clock.append(time.process_time())
    write_grey(target, mask)


def peer() -> Convert | None:
    """Return what `cityscapesscripts.preparation.json2labelImg.json2labelImg` does, with a look at the clock."""
    try:
        from cityscapesscripts.helpers.annotation import Annotation
        from cityscapesscripts.preparation.json2labelImg import createLabelImage
    except ImportError:
        print("cityscapesScripts is not installed: its columns are left out", file=sys.stderr)
        return None

    def theirs(source: Path, target: Path, kind: str, clock: list[float]) -> None:
        annotation = Annotation()
        annotation.fromJsonFile(str(source))
        clock.append(time.process_time())
        image = createLabelImage(annotation, {"labelIds": "ids", "labelTrainIds": "trainIds"}[kind])
        clock.append(time.process_time())
        image.save(target)

    return theirs


def timed(convert: Convert, source: Path, target: Path) -> list[float]:
    """Return the milliseconds of reading JSON, drawing, writing PNG, and all three."""
    clock = [time.process_time()]
    convert(source, target, "labelTrainIds", clock)
    clock.append(time.process_time())
    return [1e3 * value for value in (*np.diff(clock), clock[-1] - clock[0])]


def equal(convert: Convert, source: Path, target: Path) -> int | None:
    """Return the number of pixels that differ from the official labelIds; None where those are not there."""
    official = Path(str(source).replace("_polygons.json", "_labelIds.png"))
    if not official.is_file():
        return None
    convert(source, target, "labelIds", [])
    return int(np.count_nonzero(np.array(Image.open(target)) != np.array(Image.open(official))))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data/cityscapes"))
    parser.add_argument("--files", type=int, default=50, help="the first so many annotations are converted")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    sources = sorted(options.root.glob("gt*/*/*/*_polygons.json"))[: options.files]
    if not sources:
        sys.exit(f"--root {options.root}: there are no gt*/<split>/<city>/*_polygons.json")
    converters = {"seg": ours} | ({"cityscapesScripts": other} if (other := peer()) else {})

    means: dict[str, np.ndarray] = {}
    sizes: dict[str, float] = {}
    pixels: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "mask.png"
        medians: dict[str, list[list[float]]] = {name: [] for name in converters}
        written: dict[str, list[int]] = {name: [] for name in converters}
        for source in sources:
            times: dict[str, list[list[float]]] = {name: [] for name in converters}
            for _ in range(options.repeats):
                for name, convert in converters.items():
                    times[name].append(timed(convert, source, target))
            for name, convert in converters.items():
                medians[name].append([statistics.median(stage) for stage in zip(*times[name], strict=True)])
                convert(source, target, "labelTrainIds", [])
                written[name].append(target.stat().st_size)
        for name, convert in converters.items():
            means[name], sizes[name] = np.mean(medians[name], axis=0), statistics.mean(written[name]) / 1e3
            differing = [equal(convert, source, target) for source in sources]
            pixels[name] = [number for number in differing if number is not None]

    print(f"{len(sources)} files, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; ms a file")
    print(f"{'':20}{'JSON':>8}{'draw':>8}{'PNG':>8}{'total':>8}{'kB':>8}   equal to labelIds")
    for name in converters:
        row = "".join(f"{value:8.2f}" for value in means[name])
        same = f"{pixels[name].count(0)} of {len(pixels[name])} files, {sum(pixels[name])} pixels differ"
        print(f"{name:20}{row}{sizes[name]:8.1f}   {same}")
    if other:
        ratios = means["cityscapesScripts"] / means["seg"]
        print(f"{'times as fast':20}" + "".join(f"{value:8.2f}" for value in ratios))


if __name__ == "__main__":
    main()
