"""Reading run folders, whole ones and what is left of others."""

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seg.report import facts
from seg.report.command import compare, main, report
from seg.report.embedding import embedded_json
from seg.report.page import write
from seg.report.run import Run, iou_of
from seg.report.settings import differences
from tests.report.folders import samples, write_run


def test_a_run_tells_its_numbers_scores_and_images(tmp_path):
    run = write_run(tmp_path / "run", ["a", "b", "c"], samples(4, 3), 4)
    assert run.config["seed_everything"] == 3
    assert run.series["val/miou"][5] == (5.0, 0.05)
    assert run.class_names == ["a", "b", "c"]
    assert 0 < run.scores["miou"] < 1
    for image, (_, _, truth, prediction) in zip(run.images, samples(4, 3), strict=True):
        scored = truth != 255
        for c in range(3):
            t, p = (truth == c) & scored, (prediction == c) & scored
            assert image.iou[c] == pytest.approx((t & p).sum() / (t | p).sum())
    assert np.isnan(iou_of(np.zeros((0, 3), np.int64), 2)).all()


def test_no_run_folder_is_named_with_the_cure(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"there is no such run folder; runs lie in runs/<config>/version_<n>"):
        Run(tmp_path / "gone")
    (tmp_path / "version_0").mkdir()
    with pytest.raises(ValueError, match="give one of the runs in it: version_0"):
        Run(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path)])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("records/test.json", "{", "cannot be read"),
        ("records/test.json", '{"format": 1, "names": ["a"]}', "damaged"),
        ("records/test.json", '{"format": 99}', "later version"),
        ("records/test-abc-0.zip", "PK", "cannot be read"),
        ("records/test-abc-0.zip", None, "cannot be read"),
        ("records/test.json", None, "no test or validation of this run was recorded"),
        ("metrics.csv", "step,epoch,train/loss\n0,0,1\n1,0,0.", ""),
        ("metrics.csv", "\0\0\0", "metrics.csv is empty"),
        ("metrics.csv", None, "metrics.csv is missing"),
        ("config.yaml", "a: [", "config.yaml cannot be read"),
        ("config.yaml", None, "config.yaml is missing"),
    ],
)
def test_a_damaged_or_half_written_folder_still_has_a_page_that_says_what_it_lacks(tmp_path, name, content, said):
    write_run(tmp_path / "run", ["a", "b", "c"], samples(4, 3), 4)
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_text(content)
    written = write(Run(tmp_path / "run"))
    assert said in " ".join(written.missing)
    assert written.path.stat().st_size > 1e6
    if name == "metrics.csv" and not said:
        assert Run(tmp_path / "run").series == {"train/loss": [(0.0, 1.0)]}


def test_a_checkpoint_alone_has_a_page_that_tells_how_to_go_on(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"")
    html = report(tmp_path).read_text()
    assert f"seg test --ckpt_path {tmp_path}/checkpoints/last.ckpt" in html


def test_names_are_text_wherever_they_stand(tmp_path):
    names = ["</script><script>alert(1)</script>", "a\u2028b", "\ud800", "<!--<script>"]
    odd = [(f"{name} {names[0]}", *rest) for name, *rest in samples(3, 4)]
    html = write(write_run(tmp_path / "run", names, odd, 3)).path.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert html.count("<script>") == 2
    assert html.count("<!--") == 0
    text = str(embedded_json({"x": ["</script>", "\u2028", math.nan, math.inf]}))
    assert "<" not in text
    assert text.isascii()
    assert text.endswith("null,null]}")


def test_a_part_with_labels_that_are_no_class_is_refused(tmp_path):
    run = write_run(tmp_path / "run", ["a", "b"], samples(2, 2), 2)
    with zipfile.ZipFile(tmp_path / "run/records/test-abc-0.zip", "w") as file:
        file.writestr("images.json", '[{"id": "x", "height": 1, "width": 1, "confusion": [[0, 7, 1]]}]')
    record = Run(run.folder).record()
    assert record.images == []
    assert "no class" in record.missing[0]


def test_settings_that_differ_from_defaults_are_found():
    net = {"class_path": "seg.models.UNet", "init_args": {"width": 8, "depth": 4}}
    gone = {"class_path": "nowhere.Net", "init_args": {"a": 1}}
    config = {
        "seed_everything": 0,
        "trainer": {"max_epochs": 3, "precision": "auto", "log_every_n_steps": 10},
        "model": {"net": net, "loss": gone, "compile": False, "auxiliary_weight": 0.5},
        "ckpt_path": None,
    }
    found = {name: value for name, value, _ in differences(config)}
    assert found == {
        "trainer.max_epochs": 3,
        "model.net": "seg.models.UNet",
        "model.net.width": 8,
        "model.loss": "nowhere.Net",
        "model.loss.a": 1,
        "model.auxiliary_weight": 0.5,
    }


def test_a_thinned_curve_keeps_its_peaks():
    points = [(float(step), 0.0) for step in range(100_000)]
    points[54_321] = (54_321.0, 9.0)
    points[77_777] = (77_777.0, -9.0)
    thin = facts.thinned(points)
    assert len(thin) <= facts.POINTS
    assert points[54_321] in thin
    assert points[77_777] in thin


def test_runs_are_compared_by_class_image_and_setting(tmp_path, capsys):
    for name, seed, classes in (
        ("one", 0, ["a", "b", "c"]),
        ("two", 1, ["a", "b", "c"]),
        ("three", 0, ["b", "x", "y"]),
    ):
        mixed = [(i, im, t, o[3]) for (i, im, t, _), o in zip(samples(5, 3), samples(5, 3, seed=seed), strict=True)]
        write_run(tmp_path / name / "version_0", classes, mixed, 5)
    (tmp_path / "two/version_0/config.yaml").write_text("seed_everything: 4\nmodel: {compile: true}\n")
    folders = [tmp_path / name / "version_0" for name in ("one", "two", "three")]
    compare(folders, tmp_path / "out.html")
    html = (tmp_path / "out.html").read_text()
    one, two = (Run(folder).record() for folder in folders[:2])
    change = two.scores["miou"] - one.scores["miou"]
    assert f"{change:+.3f}" in html
    assert "seed_everything" in html
    assert "compile" not in html.split('id="settings"')[1].split("</section>")[0]
    assert "three/version_0: other classes" in html
    spreads = {a.id: abs(a.mean - b.mean) for a, b in zip(one.images, two.images, strict=True)}
    largest = max(spreads, key=spreads.get)
    assert html.split("<article")[1].split("<h3>")[1].startswith(largest)
    with pytest.raises(ValueError, match="two runs or more"):
        compare(folders[:1], tmp_path / "out.html")
    with pytest.raises(ValueError, match="this is a folder"):
        compare(folders, Path(tmp_path))
