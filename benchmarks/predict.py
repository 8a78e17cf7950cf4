"""Measure predicting a folder of images against the network alone: what reading, writing and the rest cost.

The network alone is asked for the labels of images that are in memory already; `seg predict` reads the files, writes
masks and whatever else is asked for. Both take turns on the same images.

    python benchmarks/predict.py best.ckpt data/CamVid/val --save masks
"""

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from pathlib import Path

from seg.loading import load
from seg.predict import predict_files
from seg.predict.inputs import images_in
from seg.predict.kinds import KINDS
from seg.predict.tables import TABLES


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--save", nargs="+", choices=[*KINDS, *TABLES], default=["masks"])
    parser.add_argument("--number", type=int, default=500, help="images at most; fewer are taken again and again")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()

    files = [path for _, path in images_in([options.folder], Path("nowhere"))]
    predictor = load(options.checkpoint, options.device)
    alone, together = [], []
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "images"
        inputs.mkdir()
        for index in range(options.number):
            source = files[index % len(files)]
            (inputs / f"{index:04}{source.suffix}").symlink_to(source.resolve())
        images = [predictor.read(path) for path in files]
        for image in images[:3]:
            predictor.labels(image)
        for round in range(options.rounds):
            start = time.perf_counter()
            for index in range(options.number):
                predictor.labels(images[index % len(images)])
            alone.append(time.perf_counter() - start)
            start = time.perf_counter()
            load(options.checkpoint, options.device)  # what the command does once, whatever the number of images
            loading = time.perf_counter() - start
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                out = Path(folder) / f"out{round}"
                predict_files(options.checkpoint, [inputs], out, device=options.device, save=options.save)
            together.append(time.perf_counter() - start - loading)
    first, second = statistics.median(alone), statistics.median(together)
    print(f"{options.number} images, {', '.join(options.save)}")
    print(f"the network alone {options.number / first:7.1f} images/s")
    print(f"seg predict       {options.number / second:7.1f} images/s, {second / first:.2f} × the time")


if __name__ == "__main__":
    main()
