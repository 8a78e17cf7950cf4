"""The list of worst images, through the real command."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg import predict
from seg.worst import WorstImages
from tests.command import run, write_config


def test_the_worst_images_of_a_test_are_listed_with_their_own_figures(workplace, shapes, capsys):
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1))
    best = "runs/tiny/version_0/checkpoints/best.ckpt"
    capsys.readouterr()
    callback = "[{class_path: seg.worst.WorstImages, init_args: {number: 2, file: images.csv}}]"
    run("test", "--ckpt_path", best, "--trainer.callbacks", callback)
    listed = re.findall(r"^(\d\.\d{4})  (\w+)$", capsys.readouterr().out.split("worst 2 of 5 images")[1], re.M)

    names = (shapes / "ImageSets/Segmentation/test.txt").read_text().split()
    images = [str(shapes / f"JPEGImages/{name}.jpg") for name in names]
    predict.main([best, *images, "--out", "masks", "--save", "masks"])
    own = {}
    for name in names:
        t, p = (np.array(Image.open(path)) for path in (shapes / f"SegmentationClass/{name}.png", f"masks/{name}.png"))
        t, p = t[t != 255], p[t != 255]
        seen = np.union1d(t, p)
        own[name] = np.mean([((t == c) & (p == c)).sum() / ((t == c) | (p == c)).sum() for c in seen])
    order = sorted(own, key=own.get)
    assert [name for _, name in listed] == order[:2]
    assert [float(value) for value, _ in listed] == [pytest.approx(own[name], abs=1e-4) for name in order[:2]]
    with Path("images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == order
    assert float(rows[-1]["mean"]) == pytest.approx(own[order[-1]], abs=1e-6)


def test_no_image_at_all_is_no_list():
    with pytest.raises(ValueError, match="number: 0"):
        WorstImages(0)
