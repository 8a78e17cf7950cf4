"""Time labelme JSON → PNG beside labelme's own way: `python benchmarks/labelme.py FOLDER --labels labels.txt`.

The peer is the algorithm of labelme's example script labelme2voc with all that is optional off (no visualisation, no
.npy): `labelme.LabelFile`, `labelme.utils.shapes_to_label`, `labelme.utils.lblsave`. It needs a labelme with a Python
API, `pip install labelme==5.5.0`; without one only our side is timed. One core, the shortest of several runs a file.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np

from seg.convert.labelme import convert_one, job_for
from seg.convert.labelme_file import read_annotation
from seg.convert.labelme_images import Tree, find_image
from seg.convert.labelme_labels import label_values, read_labels
from seg.convert.labelme_shapes import Drawing, draw_shapes
from seg.convert.labelme_sources import read_source, read_sources


def milliseconds(function: Callable[[], object], repeats: int, out: Path) -> float:
    """Return the shortest of several runs into an empty folder, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        for path in out.rglob("*.*"):
            path.unlink()
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times[1:]) * 1e3


def labelme_or_none() -> Any:
    """Return the labelme package where it still has a Python API."""
    sys.path = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]
    try:  # this script has the package's name, and its folder would come first
        import labelme.utils
    except ImportError as error:
        print(f"labelme's Python API is not installed ({error}): only our side is timed")
        return None
    return labelme if hasattr(labelme, "LabelFile") and hasattr(labelme.utils, "lblsave") else None


def main() -> None:
    """Print medians over the files, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    sources, names = read_sources(options.folder), read_labels(options.labels)
    values, drawing = label_values(names), Drawing()
    tree, peer = Tree(options.folder), labelme_or_none()
    times: dict[str, list[float]] = {}
    differing = 0
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        for source in sources.good:
            path, frame = source.annotation.path, source.frame
            if frame is None:
                continue

            def ours() -> None:
                again = read_source(path, tree)  # noqa: B023
                convert_one(job_for(again, sources.root, out, values, drawing, len(names)))

            def drawing_alone() -> np.ndarray:
                return draw_shapes(source.annotation.shapes, frame.size, values, drawing, path)  # noqa: B023

            runs: dict[str, Callable[[], object]] = {
                "seg: JSON to PNG, image copied": ours,
                "seg: reading and finding the image": lambda: find_image(read_annotation(path), tree),  # noqa: B023
                "seg: drawing": drawing_alone,
            }
            if peer is not None:
                ids = {name: -1 if value == 255 else value for name, value in values.items()}
                shapes = peer.LabelFile(str(path)).shapes

                def theirs() -> None:
                    label_file = peer.LabelFile(filename=str(path))  # noqa: B023
                    (out / "peer.jpg").write_bytes(label_file.imageData)
                    pixels = peer.utils.img_data_to_arr(label_file.imageData)
                    label, _ = peer.utils.shapes_to_label(pixels.shape, label_file.shapes, ids)  # noqa: B023
                    peer.utils.lblsave(str(out / "peer.png"), label)

                runs["labelme: JSON to PNG, image copied"] = theirs
                runs["labelme: shapes_to_label"] = lambda: peer.utils.shapes_to_label(frame.size, shapes, ids)  # noqa: B023
                label, _ = peer.utils.shapes_to_label(frame.size, shapes, ids)
                differing += int((np.where(label < 0, 255, label) != drawing_alone()).sum())
            for name, run in runs.items():
                times.setdefault(name, []).append(milliseconds(run, options.repeats, out))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{len(next(iter(times.values())))} files of {options.folder}, medians of the shortest of {options.repeats}")
    for name, value in medians.items():
        print(f"{name:<40} {value:8.3f} ms")
    if peer is not None:
        for ours_name, theirs_name in (
            ("seg: JSON to PNG, image copied", "labelme: JSON to PNG, image copied"),
            ("seg: drawing", "labelme: shapes_to_label"),
        ):
            print(f"{ours_name}: {medians[theirs_name] / medians[ours_name]:.1f} × faster")
        print(f"pixels that differ: {differing}")


if __name__ == "__main__":
    main()
