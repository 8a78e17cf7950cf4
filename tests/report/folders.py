"""Run folders as a run leaves them, written without training, and pages opened in the Chromium that is installed."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from seg.metrics import scores
from seg.report.part import Part
from seg.report.record import FOLDER, FORMAT, plain_scores
from seg.report.run import Run, dense
from seg.report.thumbnails import room_of

Sample = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def samples(number: int, classes: int, size: tuple[int, int] = (48, 64), seed: int = 0) -> Iterator[Sample]:
    """Yield id, image, truth and prediction: blocks of classes, of which some are mistaken."""
    random = np.random.default_rng(seed)
    for index in range(number):
        blocks = random.integers(0, classes, (size[0] // 8 + 1, size[1] // 8 + 1))
        wrong = np.where(random.random(blocks.shape) < (index + 1) / (number + 1), (blocks + 1) % classes, blocks)
        truth, prediction = (
            np.kron(labels, np.ones((8, 8)))[: size[0], : size[1]].astype(np.uint8) for labels in (blocks, wrong)
        )
        truth[:2] = 255
        image = np.repeat((truth * (250 // classes))[:, :, None], 3, axis=2) + random.integers(0, 6, (*size, 3))
        yield f"image_{index}", image.astype(np.uint8), truth, prediction


def write_run(
    folder: Path, names: Sequence[str], images: Sequence[Sample] | Iterator[Sample], number: int, stage: str = "test"
) -> Run:
    """Write a run folder: a record of images, a few logged numbers, a configuration."""
    (folder / FOLDER).mkdir(parents=True)
    (folder / "config.yaml").write_text("seed_everything: 3\nmodel: {compile: true}\n")
    rows = "".join(f"{step},0,{1 / (step + 1)},{step / 100}\n" for step in range(100))
    (folder / "metrics.csv").write_text("step,epoch,train/loss,val/miou\n" + rows)
    part = Part(folder / FOLDER / f"{stage}-abc-0.zip", room_of(number), len(names), 255)
    for name, image, truth, prediction in images:
        shown = np.full((1, 8, 8), 128, np.uint8)
        part.add([name], image[None], truth[None], prediction[None], shown)
    part.finish()
    total = np.zeros((len(names), len(names)), np.int64)
    for row in part.rows:
        total += dense(row["confusion"], len(names))
    content = {
        "format": FORMAT,
        "stage": stage,
        "split": stage,
        "data": "made up",
        "checkpoint": "best.ckpt",
        "made": 1e9,
        "seconds": 2.0,
        "processes": 1,
        "parts": [part.place.name],
        "images": len(part.rows),
        "names": list(names),
        "colors": [[(37 * index) % 256, (91 * index) % 256, (53 * index + 80) % 256] for index in range(len(names))],
        **plain_scores(scores(torch.from_numpy(total))),
    }
    (folder / FOLDER / f"{stage}.json").write_text(json.dumps(content))
    return Run(folder)


def log_classes(run: Run, noise: float = 0.03) -> Run:
    """Log the IoU of each class at 100 validations, each curve in a band of its own, and return the run read anew."""
    random, names = np.random.default_rng(0), run.class_names
    values = np.linspace(0.05, 0.95, len(names)) + random.normal(0, noise / len(names), (100, len(names)))
    rows = [[step, 0, 1 / (step + 1), *row] for step, row in enumerate(values.tolist())]
    with (run.folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "epoch", "train/loss", *(f"val/iou/{name}" for name in names)])
        writer.writerows(rows)
    return Run(run.folder)


@contextmanager
def opened(path: Path, **options):
    """Open a page in a headless Chromium; on leaving it, no error and no request may have been seen."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        seen: list[str] = []
        page.on("console", lambda message: seen.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url) if request.url.startswith("http") else None)
        page.on("dialog", lambda dialog: (seen.append("dialog"), dialog.dismiss()))
        page.goto(path.resolve().as_uri())
        yield page
        browser.close()
    assert seen == []
