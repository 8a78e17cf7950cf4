"""Measure the report: seconds and MB of a page of many images, and what recording them costs a run.

The page is made of generated images of CamVid's size and number of classes, in which labels lie in blobs as those of a
network do. The recording is measured by testing a U-Net on such images with and without it, in turns; its cost is given
as a share of the shortest run that anyone would make.

    python benchmarks/report.py --images 1000 --minutes 12
"""

import argparse
import contextlib
import io
import json
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from seg.data.dataset import collate
from seg.errors import quiet
from seg.metrics import scores
from seg.models import UNet
from seg.report.journal import Journal
from seg.report.page import write
from seg.report.part import Part
from seg.report.record import FOLDER, FORMAT, ImageRecord, plain_scores
from seg.report.run import Run, dense
from seg.report.thumbnails import room_of
from seg.task import SegmentationTask
from seg.trainer import Trainer

CLASSES, SIZE = 11, (360, 480)
NAMES = [f"class {index}" for index in range(CLASSES)]
COLORS = [[(37 * index) % 256, (91 * index) % 256, (53 * index) % 256] for index in range(CLASSES)]


def image(random):
    """Return an image with grain, a truth of blobs, and a prediction that differs along its borders."""
    few = random.random((CLASSES, 12, 16), np.float32)
    field = np.stack([cv2.resize(part, SIZE[::-1], interpolation=cv2.INTER_CUBIC) for part in few])
    truth = field.argmax(0).astype(np.uint8)
    coarse = np.stack([cv2.resize(part, SIZE[::-1]) for part in random.normal(0, 0.12, (CLASSES, 45, 60))])
    prediction = (field + coarse).argmax(0).astype(np.uint8)
    photo = np.array(COLORS)[truth] * 0.5 + cv2.resize(random.random((90, 120, 3)) * 90, SIZE[::-1])
    photo = np.clip(photo + random.normal(0, 6, (*SIZE, 3)), 0, 255)
    return photo.astype(np.uint8), truth, prediction


def page(folder, number):
    """Record generated images and return seconds of encoding, of making the page, and its MB."""
    random, records = np.random.default_rng(0), folder / FOLDER
    records.mkdir(parents=True)
    made = [image(random) for _ in range(40)]
    begin = time.perf_counter()
    part = Part(records / "test-benchmark-0.zip", room_of(number), CLASSES, 255)
    for index in range(number):
        photo, truth, prediction = made[index % len(made)]
        part.add([f"image {index}"], photo[None], truth[None], prediction[None], truth[None, ::4, ::4] * 20)
    part.finish()
    encoding = time.perf_counter() - begin
    total = sum(dense(row["confusion"], CLASSES) for row in part.rows)
    facts = {"format": FORMAT, "split": "test", "names": NAMES, "colors": COLORS, "parts": [part.place.name]}
    text = json.dumps(facts | plain_scores(scores(torch.from_numpy(total))))
    (records / "test.json").write_text(text, encoding="utf-8")
    begin = time.perf_counter()
    path = write(Run(folder)).path
    return encoding, time.perf_counter() - begin, path.stat().st_size / 1e6


class Fixed(LightningDataModule):
    """Generated images to test on."""

    def __init__(self, number):
        super().__init__()
        random, self.samples = np.random.default_rng(0), []
        for index in range(number):
            photo, truth, _ = image(random)
            pixels = torch.from_numpy(photo).permute(2, 0, 1).contiguous()
            self.samples.append({"image": pixels, "mask": torch.from_numpy(truth), "id": str(index)})

    def test_dataloader(self):
        return DataLoader(self.samples, batch_size=4, collate_fn=collate)


def tested(task, data, callbacks):
    """Return the seconds of a test."""
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
    )
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.test(task, datamodule=data, verbose=False)
    return time.perf_counter() - begin


def main() -> None:
    """Print seconds, MB and shares."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=1000, help="images of the page")
    parser.add_argument("--tested", type=int, default=40, help="images that are tested with and without the recording")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=12, help="length of the run whose share is told")
    parser.add_argument("--test-images", type=int, default=101, help="images that this run is tested on")
    options = parser.parse_args()

    quiet()
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        encoding, making, size = page(Path(place) / "page", options.images)
        print(f"{options.images} images of {SIZE[1]} × {SIZE[0]}: recorded in {encoding:.1f} s")
        print(f"page: {making:.1f} s, {size:.1f} MB")
        task = SegmentationTask(UNet(CLASSES, width=16), NAMES, COLORS, mean=[100.0] * 3, std=[60.0] * 3)
        data, times = Fixed(options.tested), {"without": [], "with": []}
        tested(task, data, [])  # the first one warms up
        for repeat in range(options.repeats):
            folder = Path(place) / f"run {repeat}"
            times["without"].append(tested(task, data, []))
            times["with"].append(tested(task, data, [ImageRecord(folder), Journal(folder)]))
    without, recorded = (statistics.median(times[name]) for name in ("without", "with"))
    extra = (recorded - without) / options.tested * options.test_images
    share = (extra + making * options.test_images / options.images) / (60 * options.minutes)
    print(f"test of {options.tested} images: {without:.2f} s, recorded {recorded:.2f} s ({recorded / without:.2f} ×)")
    run = f"a run of {options.minutes:g} minutes, tested on {options.test_images} images"
    print(f"record and page take {100 * share:.2f} % of {run}")


if __name__ == "__main__":
    main()
