"""What a test leaves for the report, through the real command, beside counts made independently."""

import csv
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

from seg import predict
from seg.loggers import CSV
from seg.report.command import leave
from seg.report.part import Part, sparse_confusion
from seg.report.record import confidence
from seg.report.run import Run
from seg.report.thumbnails import encode, room_of
from tests.command import process, run, write_config


@pytest.fixture
def trained(workplace, shapes):
    """Train for an epoch and return the run folder."""
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1))
    return workplace / "runs/tiny/version_0"


def test_background_that_is_left_out_counts_in_no_image_either(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, model={"include_background": False}, max_epochs=1)
    listed = "[{class_path: seg.worst.WorstImages, init_args: {file: worst.csv}}]"
    run("--config", config, "--trainer.callbacks", listed)
    folder = workplace / "runs/tiny/version_0"
    expected = {}
    for image in Run(folder).record().images:
        counts = np.zeros((8, 8))
        for truth, prediction, pixels in image.confusion.tolist():
            counts[truth, prediction] = pixels
        hit, union = counts.diagonal(), counts.sum(0) + counts.sum(1) - counts.diagonal()
        expected[image.id] = np.mean([hit[c] / union[c] for c in range(1, 8) if union[c]] or [np.nan])
        np.testing.assert_allclose(image.mean, expected[image.id])
    for path, column in ((workplace / "worst.csv", "mean"), (folder / "tables/test_predictions.csv", "mean IoU")):
        with path.open(encoding="utf-8") as file:
            found = {row["image"]: float(row[column] or "nan") for row in csv.DictReader(file)}
        assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_a_fit_records_every_test_image_with_its_own_counts(trained, shapes, capsys):
    assert (trained / "report.html").is_file()
    record = Run(trained).record()
    names = (shapes / "ImageSets/Segmentation/test.txt").read_text().split()
    assert sorted(image.id for image in record.images) == sorted(names)
    images = [str(shapes / f"JPEGImages/{name}.jpg") for name in names]
    predict.main([str(trained / "checkpoints/best.ckpt"), *images, "--out", "masks", "--save", "masks"])
    total = np.zeros((8, 8), np.int64)
    for image in record.images:
        truth = np.array(Image.open(shapes / f"SegmentationClass/{image.id}.png"))
        mask = np.array(Image.open(f"masks/{image.id}.png"))
        counts = {(t, p): int(((truth == t) & (mask == p)).sum()) for t in range(8) for p in range(8)}
        assert {(t, p): n for t, p, n in image.confusion.tolist()} == {pair: n for pair, n in counts.items() if n}
        for pair, pixels in counts.items():
            total[pair] += pixels
        shown = image.arrays()
        assert image.size == truth.shape == shown["truth"].shape  # small enough to be kept whole
        assert (shown["truth"] == truth).all()
        assert (shown["prediction"] == mask).all()
        assert shown["image"].shape == (*truth.shape, 3)
        assert shown["confidence"].ndim == 2
    assert (record.confusion == total).all()
    assert record.missing == []
    journal = Run(trained).journal
    assert journal["images"] == 12
    assert journal["seconds"]["train"] > 0
    assert journal["seconds"]["test"] > 0
    html = (trained / "report.html").read_text(encoding="utf-8")
    assert f'<th scope="row">torch</th><td>{torch.__version__.partition("+")[0]}' in html


def test_a_validation_alone_is_recorded_beside_the_test_and_a_second_test_replaces_the_first(trained, capsys):
    first = {path.name for path in (trained / "records").glob("test-*.zip")}
    checkpoint = trained / "checkpoints/best.ckpt"
    run("validate", "--ckpt_path", checkpoint)
    assert (trained / "report-val.html").is_file()
    assert Run(trained).stages == ["test", "val"]
    run("test", "--ckpt_path", checkpoint)
    second = {path.name for path in (trained / "records").glob("test-*.zip")}
    assert len(second) == 1
    assert first.isdisjoint(second)
    shutil.rmtree(trained / "records")
    run("validate", "--ckpt_path", checkpoint)
    assert Run(trained).record().split == "val"
    assert "5 images of the val split" in (trained / "report.html").read_text()


def test_a_report_or_record_that_cannot_be_made_never_fails_the_run(workplace, shapes, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seg.report.part.encode", full)
    monkeypatch.setattr("seg.report.page.write", full)
    with pytest.warns(UserWarning, match="no record for the report"):
        run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1))
    printed = capsys.readouterr().out
    assert "test mIoU" in printed
    assert "no report (OSError" in printed
    assert list((workplace / "runs/tiny/version_0/records").glob("test*")) == []


def test_a_run_that_ctrl_c_stops_leaves_curves_and_a_page_of_what_there_is(workplace, shapes, capsys):
    press = "[{class_path: tests.stopping.PressCtrlC, init_args: {step: 5}}]"
    with pytest.raises(SystemExit) as stopped:
        run("--config", write_config(workplace / "tiny.yaml", shapes), "--trainer.callbacks", press)
    assert stopped.value.code == 130
    folder = workplace / "runs/tiny/version_0"
    printed = capsys.readouterr().out
    assert printed.index("go on with the same command") < printed.index("report:")
    assert np.array(Image.open(folder / "curves.png")).std() > 5
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "no scores and no images" in page
    assert 'id="curves"' in page
    assert "5 in 1 epochs" in page
    assert Run(folder).journal["images"] == 12 + 8


def test_a_second_ctrl_c_gets_no_page(workplace, shapes, capsys):
    twice = "[{class_path: tests.stopping.PressCtrlC, init_args: {step: 5, times: 2}}]"
    with pytest.raises(SystemExit) as stopped:
        run("--config", write_config(workplace / "tiny.yaml", shapes), "--trainer.callbacks", twice)
    assert stopped.value.code == 130
    assert not list((workplace / "runs/tiny/version_0").glob("*.html"))


def test_ctrl_c_while_the_page_is_made_ends_at_once(workplace, monkeypatch):
    def pressed(*_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr("seg.report.page.write", pressed)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Lightning leaves it
    logger = CSV(workplace / "run")
    logger.log_metrics({"train/loss": 1.0}, 0)
    logger.flush()
    begin = time.monotonic()
    leave(logger)
    assert time.monotonic() - begin < 30
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (workplace / "run/curves.png").is_file()


@pytest.mark.slow
def test_two_processes_record_all_images_once(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1, devices=2, strategy="ddp")
    ran = process("--config", config)
    assert ran.returncode == 0, ran.stderr
    record = Run(workplace / "runs/tiny/version_0").record()
    names = (shapes / "ImageSets/Segmentation/test.txt").read_text().split()
    assert sorted(image.id for image in record.images) == sorted(names)
    assert len(record.facts["names"]) == 8
    assert record.facts["processes"] == 2
    assert len(list((workplace / "runs/tiny/version_0/records").glob("test-*.zip"))) == 2
    together = sum(image.confusion[:, 2].sum() for image in record.images)
    assert together == record.confusion.sum()
    assert (workplace / "runs/tiny/version_0/report.html").is_file()


def test_ignored_pixels_are_not_counted_and_shown_as_such(tmp_path):
    truth, prediction = np.array([[0, 1, 7], [1, 1, 7]]), np.array([[0, 0, 1], [1, 0, 1]], np.uint8)
    assert sparse_confusion(truth, prediction, 2, 7) == [[0, 0, 1], [1, 0, 2], [1, 1, 1]]
    part = Part(tmp_path / "part.zip", 20_000, 2, 7)
    part.add(["odd/../name\n🚗"], np.zeros((1, 2, 3, 3), np.uint8), truth[None], prediction[None], None)
    part.finish()
    assert part.rows[0]["id"] == "odd/../name\n🚗"
    import zipfile

    with zipfile.ZipFile(tmp_path / "part.zip") as file:
        assert sorted(file.namelist()) == [
            "000000/image.jpg",
            "000000/prediction.png",
            "000000/truth.png",
            "images.json",
        ]
        shown = np.array(Image.open(file.open("000000/truth.png")))
        assert json.loads(file.read("images.json"))[0]["confusion"] == [[0, 0, 1], [1, 0, 2], [1, 1, 1]]
    assert shown.tolist() == [[0, 1, 255], [1, 1, 255]]


@pytest.mark.parametrize("number", [10, 1000, 100_000])
def test_pictures_of_pure_noise_keep_to_their_room(number):
    random = np.random.default_rng(0)
    masks = random.integers(0, 150, (2, 700, 500)).astype(np.uint8)
    image = random.integers(0, 255, (700, 500, 3)).astype(np.uint8)
    files = encode(image, masks[0], masks[1], random.integers(0, 255, (70, 50)).astype(np.uint8), room_of(number))
    assert sum(map(len, files.values())) <= 1.35 * room_of(number)  # a photo of noise is the most that a JPEG can be


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1, 1, 1), np.uint16), ((3, 900, 7), np.float32), ((600, 2, 3), np.uint8), ((5, 5, 2), np.uint8)],
)
def test_images_of_every_kind_become_pictures(shape, dtype):
    image = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    mask = np.zeros(shape[:2], np.uint8)
    files = encode(image, mask, mask, None, 17_500)
    assert set(files) == {"image.jpg", "truth.png", "prediction.png"}


def test_confidence_is_the_largest_probability():
    logits = torch.randn(2, 5, 40, 60, dtype=torch.float64)
    found = confidence(logits, 60)
    expected = np.exp(logits.numpy()).max(1) / np.exp(logits.numpy()).sum(1)
    assert found.shape == (2, 40, 60)
    assert np.abs(found.numpy() / 255 - expected).max() < 0.003
    assert max(confidence(logits, 13).shape[1:]) <= 13
