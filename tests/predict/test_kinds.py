import csv
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seg
from seg import draw
from seg.postprocess import fill_holes, remove_small_regions
from seg.predict import kinds, main, one, visible
from tests.predict.conftest import photo


def rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_probabilities_confidence_and_entropy_are_those_of_the_network(workplace, checkpoint):
    photo(Path("x.png"))
    main([str(checkpoint), "x.png", "--out", "out", "--save", "masks", "probabilities", "confidence", "entropy"])
    labels, probabilities = seg.load(checkpoint, "cpu").predict("x.png")
    found = np.load("out/probabilities/x.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, probabilities, atol=1e-6)
    np.testing.assert_array_equal(np.array(Image.open("out/x.png")), labels)
    exact = probabilities.astype(np.float64)
    entropy = -(exact * np.log(exact)).sum(0) / math.log(len(exact))
    for name, expected in (("confidence", exact.max(0)), ("entropy", entropy)):
        picture = Image.open(f"out/{name}/x.png")
        assert picture.mode == "L"
        np.testing.assert_allclose(np.array(picture) / 255, expected, atol=0.51 / 255)


@pytest.mark.parametrize("memory", [1 << 28, 1000])
def test_many_probabilities_go_through_a_file_and_nothing_is_left_of_it(workplace, checkpoint, memory, monkeypatch):
    monkeypatch.setattr(one, "IN_MEMORY", memory)
    monkeypatch.setattr("seg.infer._CHUNK", 8 * 210 * 16)  # 16 rows at a time
    photo(Path("x.png"), 150, 210)
    main([str(checkpoint), "x.png", "--out", "out", "--save", "probabilities", "--tile", "64", "--device", "cpu"])
    expected = seg.load(checkpoint, "cpu", tile=64).predict("x.png").probabilities
    np.testing.assert_allclose(np.load("out/probabilities/x.npy"), expected, atol=1e-6)
    tidied = ["--save", "masks", "--smallest-region", "20", "--tile", "64", "--device", "cpu"]
    main([str(checkpoint), "x.png", "--out", "tidy", *tidied])
    assert [path.name for path in Path("out/probabilities").iterdir()] == ["x.npy"]
    assert sorted(path.name for path in Path("tidy").iterdir()) == [".prediction.json", "x.png"]


def test_areas_count_every_class_of_every_image(workplace, checkpoint):
    photo(Path("photos/x.png"))
    photo(Path("photos/in, a folder/y.png"), 30, 40)
    main([str(checkpoint), "photos", "--out", "out", "--save", "masks", "areas"])
    found = rows("out/areas.csv")
    for name, path in (("x", "photos/x.png"), ("in, a folder/y", "photos/in, a folder/y.png")):
        mask = np.array(Image.open(f"out/{name}.png"))
        listed = [row for row in found if row["image"] == path]
        assert [int(row["pixels"]) for row in listed] == np.bincount(mask.ravel(), minlength=len(listed)).tolist()
        assert sum(float(row["share"]) for row in listed) == pytest.approx(1, abs=1e-5)
        assert listed[0]["class"] == "background"


def test_the_ranking_lists_the_least_certain_image_first(workplace, checkpoint):
    for seed in range(4):
        photo(Path(f"photos/{seed}.png"), 40 + seed, 50, seed=seed)
    main([str(checkpoint), "photos", "--out", "out", "--save", "ranking", "--uncertain-below", "0.5"])
    predictor = seg.load(checkpoint, "cpu")
    expected = {}
    for path in Path("photos").iterdir():
        confidence = predictor.predict(path).probabilities.max(0)
        expected[str(path)] = (confidence.mean(), (confidence < 0.5).mean())
    found = rows("out/ranking.csv")
    assert [row["image"] for row in found] == sorted(expected, key=lambda path: expected[path][0])
    for row in found:
        assert float(row["mean_confidence"]) == pytest.approx(expected[row["image"]][0], abs=1e-4)
        assert float(row["uncertain_share"]) == pytest.approx(expected[row["image"]][1], abs=0.02)


def test_an_overlay_drawn_by_rows_is_the_one_drawn_at_once(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 255, (50, 40, 3), dtype=np.uint8)
    labels = np.repeat(np.repeat(generator.integers(0, 3, (10, 8), dtype=np.uint8), 5, 0), 5, 1)
    colors = [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
    view = visible.Visible(image, None)
    predicted = kinds.Predicted(Path("x.png"), view, labels, ["a", "b", "c"], colors)
    expected = draw.overlay(image, labels, colors)
    for count in (7, 50, 64):
        monkeypatch.setattr(visible, "PIXELS", count * 40)
        kinds.write_overlay(tmp_path / "x.png", predicted, kinds.Annotating())
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / "x.png")), expected)


def test_what_is_done_is_left_alone_until_image_checkpoint_or_settings_change(workplace, checkpoint, capsys):
    own = Path("own.ckpt")
    own.write_bytes(checkpoint.read_bytes())
    for name in "xy":
        photo(Path(f"photos/{name}.png"))
    command = [str(own), "photos", "--out", "out", "--save", "masks", "areas"]

    def made() -> set[str]:
        before = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.png")}
        for path in before:
            os.utime(path, ns=(before[path] + 10**9, before[path] + 10**9))  # coarse clocks tell no two runs apart
        before = {path: path.stat().st_mtime_ns for path in before}
        main(command)
        assert {row["image"] for row in rows("out/areas.csv")} == {"photos/x.png", "photos/y.png"}
        return {path.stem for path in Path("out").glob("*.png") if path.stat().st_mtime_ns != before.get(path)}

    assert made() == {"x", "y"}
    assert made() == set()
    assert "2 of 2 images predicted, 2 of them before" in capsys.readouterr().out
    future = Path("out/x.png").stat().st_mtime + 5
    os.utime("photos/x.png", (future, future))
    assert made() == {"x"}
    os.utime("photos/x.png", (1, 1))
    Path("out/y.png").unlink()
    assert made() == {"x", "y"}  # an image is another one when an older file takes its place, too
    os.utime(own)
    assert made() == {"x", "y"}
    command += ["--tta", "flips"]
    assert made() == {"x", "y"}
    command += ["--overwrite"]
    assert made() == {"x", "y"}


def test_only_what_is_missing_is_made(workplace, checkpoint):
    photo(Path("x.png"))
    main([str(checkpoint), "x.png", "--out", "out", "--save", "masks"])
    before = Path("out/x.png").stat().st_mtime_ns
    main([str(checkpoint), "x.png", "--out", "out", "--save", "masks", "overlays", "ranking"])
    assert Path("out/x.png").stat().st_mtime_ns == before
    assert Path("out/overlays/x.png").is_file()
    assert len(rows("out/ranking.csv")) == 1


def test_tables_keep_the_rows_of_earlier_runs_with_the_same_settings(workplace, checkpoint):
    photo(Path("a/x.png"))
    photo(Path("b/y.png"))
    command = ["--out", "out", "--save", "areas"]
    main([str(checkpoint), "a", *command])
    main([str(checkpoint), "b", *command])
    assert {row["image"] for row in rows("out/areas.csv")} == {"a/x.png", "b/y.png"}
    main([str(checkpoint), "b", *command, "--fill-holes", "5"])
    assert {row["image"] for row in rows("out/areas.csv")} == {"b/y.png"}
    Path("out/areas.csv").unlink()
    main([str(checkpoint), "b", *command, "--fill-holes", "5"])
    assert {row["image"] for row in rows("out/areas.csv")} == {"b/y.png"}


def test_tiles_flips_and_scales_are_options_of_the_command(workplace, checkpoint):
    photo(Path("x.png"), 150, 210)
    tiles = ["--tile", "96", "--overlap", "0.5", "--margin", "8", "--batch-size", "2"]
    views = ["--tta", "flips", "--scales", "0.75", "1", "--precision", "32", "--device", "cpu"]
    main([str(checkpoint), "x.png", "--out", "a", "--save", "masks", *tiles, *views])
    options = {"tile": 96, "overlap": 0.5, "margin": 8, "flips": "flips", "scales": (0.75, 1)}
    expected = seg.load(checkpoint, "cpu", "32", **options).labels("x.png")
    np.testing.assert_array_equal(np.array(Image.open("a/x.png")), expected)
    assert (expected != seg.load(checkpoint, "cpu", "32").labels("x.png")).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tile", "8"], "--tile 8"),
        (["--tile", "0"], "--tile 0"),
        (["--tile", "64", "--batch-size", "0"], "--batch-size 0"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--tile", "64", "--margin", "40"], "--margin 40"),
        (["--scales", "0"], "--scales 0"),
        (["--smallest-region", "-1"], "--smallest-region"),
        (["--uncertain-below", "7"], "--uncertain-below 7"),
        (["--save", "labelme", "--tolerance", "-1"], "tolerance"),
    ],
)
def test_options_that_cannot_be_are_named_before_anything_is_written(workplace, checkpoint, options, message, capsys):
    photo(Path("x.png"))
    with pytest.raises(SystemExit) as refused:
        main([str(checkpoint), "x.png", "--out", "out", *options])
    assert refused.value.code == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_what_cannot_be_written_is_listed_and_the_rest_goes_on(workplace, checkpoint, capsys):
    for name in "xy":
        photo(Path(f"photos/{name}.png"))
    Path("out/x.png").mkdir(parents=True)
    (Path("out/x.png") / "kept").touch()
    with pytest.raises(SystemExit) as ended:
        main([str(checkpoint), "photos", "--out", "out", "--save", "masks"])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert "1 of 2 images" in captured.out
    assert "failed: photos/x.png" in captured.err
    assert sorted(path.name for path in Path("out").iterdir()) == [".prediction.json", "x.png", "y.png"]


def test_help_is_answered_without_torch():
    code = "import sys; from seg.predict import main\ntry: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "ranking: the images, least certain first" in " ".join(said.split())


def test_the_output_folder_is_scored_by_its_masks_alone(workplace, checkpoint):
    from seg.pairing import masks_in

    photo(Path("photos/x.png"))
    kinds_saved = ["masks", "overlays", "confidence", "entropy", "probabilities", "labelme", "areas", "ranking"]
    main([str(checkpoint), "photos", "--out", "out", "--save", *kinds_saved])
    assert masks_in(Path("out"), Path("photos")) == {"x": Path("out/x.png")}


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
@pytest.mark.parametrize("foreign", ["out/x.png", "out/overlays/x.png", "out/areas.csv"])
def test_a_file_that_it_has_not_written_is_never_replaced(workplace, checkpoint, foreign, words, capsys):
    photo(Path("x.jpg"))
    photo(Path("y.jpg"))
    command = [str(checkpoint), "y.jpg", "x.jpg", "--out", "out", "--save", "masks", "overlays", "areas"]
    main([str(checkpoint), "y.jpg", *command[3:]])
    Path(foreign).unlink(missing_ok=True)
    Path(foreign).write_text("years of work")
    if foreign.endswith(".csv"):
        os.utime(foreign, (1, 1))  # of a name that is known, but older
    before = sorted(Path("out").rglob("*.*"))
    with pytest.raises(SystemExit) as refused:
        main([*command, *words])
    assert refused.value.code == 2
    assert f"{foreign} is there, and seg predict has not written it" in capsys.readouterr().err
    assert sorted(Path("out").rglob("*.*")) == before
    assert Path(foreign).read_text() == "years of work"
    Path(foreign).unlink()
    for settings in ([], ["--tta", "flips"], ["--smallest-region", "5"]):  # its own it replaces
        main([*command, *words, *settings])
    Path(foreign).write_text("years of work")
    os.utime(foreign, (1, 1))
    with pytest.raises(SystemExit):
        main([*command, *words, "--tta", "horizontal"])
    assert Path(foreign).read_text() == "years of work"


def test_small_regions_and_holes_change_labels_as_they_do_for_arrays(workplace, checkpoint):
    photo(Path("x.png"), 60, 80)
    labels, probabilities = seg.load(checkpoint, "cpu").predict("x.png")
    for name, holes, regions in (("holes", 30, 0), ("regions", 0, 12), ("both", 30, 12)):
        options = ["--fill-holes", str(holes), "--smallest-region", str(regions), "--device", "cpu"]
        main([str(checkpoint), "x.png", "--out", name, "--save", "masks", *options])
        expected = remove_small_regions(fill_holes(labels, holes), regions, probabilities)
        np.testing.assert_array_equal(np.array(Image.open(f"{name}/x.png")), expected)
        assert (expected != labels).any()


def test_progress_tells_how_long_it_will_take(workplace, checkpoint, monkeypatch, capsys):
    for name in "abc":
        photo(Path(f"photos/{name}.png"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    main([str(checkpoint), "photos", "--out", "out", "--save", "masks"])
    shown = capsys.readouterr().err
    assert re.search(r"predict: 100%.* 3/3 \[\d\d:\d\d<\d\d:\d\d,", shown), shown


def test_the_command_s_precision_overrides_that_of_the_training_run(workplace, checkpoint):
    held = torch.load(checkpoint, weights_only=True)
    for precision in ("bf16-mixed", "32-true"):
        held["seg"]["precision"] = precision
        torch.save(held, f"{precision}.ckpt")
    photo(Path("x.png"))
    found = {}
    for trained, words in (("bf16-mixed", []), ("bf16-mixed", ["--precision", "32"]), ("32-true", [])):
        out = Path("out") / f"{trained}{len(words)}"
        command = [f"{trained}.ckpt", "x.png", "--out", str(out), "--save", "probabilities", "--device", "cpu"]
        main([*command, *words])
        found[trained, bool(words)] = np.load(out / "probabilities/x.npy")
    np.testing.assert_array_equal(found["bf16-mixed", True], found["32-true", False])
    assert (found["bf16-mixed", False] != found["32-true", False]).any()
    np.testing.assert_allclose(found["bf16-mixed", False], found["32-true", False], atol=0.05)
