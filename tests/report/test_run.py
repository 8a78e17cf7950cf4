"""Reading run folders, whole ones and what is left of others."""

import json
import math
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seg import draw
from seg.report import embedding, facts
from seg.report.command import compare, main, report
from seg.report.compare import curve_panels, score_rows
from seg.report.embedding import embedded_json, plotly, source
from seg.report.page import pairs_of, write
from seg.report.run import ImageEntry, Run, iou_of
from seg.report.settings import differences, imported
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


def test_of_losses_by_name_each_tells_what_of_it_was_chosen():
    dice = {"class_path": "seg.losses.Dice", "init_args": {"absent": "skip", "smooth": 0.5}}
    loss = {"class_path": "seg.losses.Sum", "init_args": {"terms": {"dice": dice}, "weights": {"dice": 2.0}}}
    assert [row[:2] for row in differences({"model": {"loss": loss}})] == [
        ("model.loss", "seg.losses.Sum"),
        ("model.loss.terms.dice", "seg.losses.Dice"),
        ("model.loss.terms.dice.smooth", 0.5),
        ("model.loss.weights", {"dice": 2.0}),
    ]


def test_looking_at_a_run_imports_nothing_else_that_its_configuration_names(tmp_path, monkeypatch):
    (tmp_path / "mischief.py").write_text("from pathlib import Path\nPath('done').touch()\nclass Net: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = {"model": {"net": {"class_path": "mischief.Net", "init_args": {"a": 1}}}}
    assert [row[:2] for row in differences(config)] == [("model.net", "mischief.Net"), ("model.net.a", 1)]
    assert not (tmp_path / "done").exists()


def test_a_library_that_does_not_load_leaves_its_settings_without_defaults(monkeypatch):
    def broken(name):
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr("seg.report.settings.importlib.import_module", broken)
    assert imported("timm.models.Net") is None
    assert imported("Net") is None


def test_confusions_come_before_what_is_right_and_what_is_cut_is_said(tmp_path):
    random = np.random.default_rng(0)
    images, counts = [], []
    for index, number in enumerate((3, 40, 60)):
        chosen = random.choice(400, number, replace=False)
        pairs = np.stack([chosen // 20, chosen % 20, random.permutation(1000)[:number] + 1], axis=1)
        images.append(ImageEntry(str(index), (9, 9), pairs, iou_of(pairs, 20), tmp_path, index))
        counts.append({(t, p): n for t, p, n in pairs.tolist()})
    assert [sorted(kept) for kept in pairs_of(images, 103)[0]] == [sorted(i.confusion.tolist()) for i in images]
    assert pairs_of(images, 103)[1] == 0
    kept, cut = pairs_of(images, 53)
    assert [len(pairs) for pairs in kept] == [3, 25, 25], "what one leaves is for the others"
    assert cut == 50
    for pairs, all_of in zip(kept, counts, strict=True):
        order = sorted(all_of, key=lambda pair: (pair[0] == pair[1], -all_of[pair]))
        assert [(t, p) for t, p, _ in pairs] == order[: len(pairs)]
        assert all(all_of[t, p] == n for t, p, n in pairs)
    assert pairs_of([], 10) == ([], 0)


def test_a_page_says_that_pairs_were_cut(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", ["a", "b", "c"], samples(4, 3), 4)
    assert "pairs of truth and prediction" not in " ".join(write(run).missing)
    monkeypatch.setattr("seg.report.page.pairs_of.__defaults__", (8,))
    total = sum(len(image.confusion) for image in run.images)
    assert f"{total - 8} pairs of truth and prediction, the smallest" in write(run).path.read_text()


def test_pictures_leave_room_for_what_the_script_reads(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", [f"class {i}" for i in range(120)], samples(30, 120, size=(120, 160)), 30)

    def sizes():
        html = write(run).path.read_text()
        pictures = re.findall(r'<script type="text/plain" id="p\d+">(.*?)</script>', html, re.S)
        return len(re.search(r'id="data">(.*?)</script>', html, re.S)[1]), [len(text) for text in pictures]

    data, pictures = sizes()
    assert data > 50_000
    assert len(pictures) == 30
    monkeypatch.setattr(embedding, "WHOLE", len(plotly()) + data + sum(pictures) // 2)
    assert sizes()[0] == data
    assert 0.3 * sum(pictures) < sum(sizes()[1]) <= 0.5 * sum(pictures)
    assert "of 30 images are listed without pictures" in " ".join(write(run).missing)


def test_a_name_that_holds_the_end_of_a_line_keeps_its_curve(tmp_path):
    run = write_run(tmp_path / "run", ["a", "b\u2028c\x85"], samples(3, 2), 3)
    header = "step,epoch,val/loss,val/iou/a,val/iou/b\u2028c\x85"
    (run.folder / "metrics.csv").write_text(f"{header}\r\n0,0,0.7,0.1,0.5\r\n1,0,,,0.6\r\n", encoding="utf-8")
    run = Run(run.folder)
    assert run.series["val/iou/b\u2028c\x85"] == [(0.0, 0.5), (1.0, 0.6)]
    assert run.series["val/loss"] == [(0.0, 0.7)]


def contrast(one, other):
    """Return the contrast of two colours #rrggbb (WCAG 2.2, relative luminance)."""

    def luminance(color):
        parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_texts_in_colour_can_be_read_on_every_paper():
    light, dark = source("style.css").split("@media (prefers-color-scheme: dark)", 1)
    for part, later in ((light, source("style.css")), (dark, dark)):
        colors = {
            name: re.search(rf"--{name}: (#\w+)", part)[1] for name in ("paper", "wash", "soft", "accent", "warn")
        }
        found = re.findall(r"\.(?:up|down) \{ color: (#\w{6}) \}", later)
        for color in (*(found[:2] if part is light else found[2:]), colors["soft"], colors["accent"], colors["warn"]):
            for paper in (colors["paper"], colors["wash"]):
                paper = paper if len(paper) == 7 else "#" + "".join(2 * digit for digit in paper[1:])
                assert contrast(color, paper) >= 4.5, (color, paper)


def test_an_error_has_the_colours_of_every_other_error_map(tmp_path):
    html = write(write_run(tmp_path / "run", ["a", "b"], samples(2, 2), 2)).path.read_text()
    for color in (draw.HIT, draw.MISS, draw.FALSE_ALARM, draw.WRONG, draw.UNSCORED):
        assert "#{:02x}{:02x}{:02x}".format(*color) in html.split('"marks":')[1].split("}")[0]


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


def test_runs_scored_on_other_images_or_data_are_said_to_be_even_where_their_number_is_the_same(tmp_path):
    def written(name, images, fingerprint):
        run = write_run(tmp_path / name / "version_0", ["a", "b"], images, 4)
        (run.folder / "provenance.json").write_text(f'{{"dataset.fingerprint": "{fingerprint}"}}')
        return run.folder

    def page_of(*folders):
        compare(list(folders), tmp_path / "out.html")
        return (tmp_path / "out.html").read_text()

    same = list(samples(4, 2))
    one, two = written("one", same, "1234"), written("two", same[::-1], "1234")
    assert "What cannot be compared" not in page_of(one, two)
    twice = written("twice", [same[0], *same[:3]], "1234")  # as many images, one of them two times
    assert (
        "twice/version_0: the scores are not of the same images as those of one/version_0: 4 of test and 4 of test, 3 "
        in page_of(one, twice)
    )
    other = written("other", same, "5678")
    html = page_of(one, two, other)
    assert "other/version_0: another data set than that of one/version_0" in html
    assert "not of the same images" not in html
    assert "two/version_0: another" not in html


def test_scores_of_metrics_beside_the_confusion_matrix_are_shown_and_compared(tmp_path):
    runs = [write_run(tmp_path / name / "version_0", ["a", "b"], samples(4, 2), 4) for name in ("one", "two", "three")]
    for number, run in enumerate(runs[:2]):
        path = run.folder / "records/test.json"
        content = json.loads(path.read_text())
        content["scores"] |= {"mean_boundary_iou": 0.25 + number / 8, "calibration_error": 0.125 + number / 2}
        path.write_text(json.dumps(content))
    runs = [Run(run.folder) for run in runs]
    shown = {label: value for label, value, _ in facts.headline(runs[1], runs[1].record())}
    assert (shown["mean boundary IoU"], shown["calibration error"]) == ("0.375", "0.625")
    rows = {row["label"]: row["cells"] for row in score_rows(runs, [run.record() for run in runs])}
    assert [cell["text"] for cell in rows["mean boundary IoU"]] == ["0.250", "0.375", "n/a"]
    assert [cell["best"] for cell in rows["mean boundary IoU"]] == [False, True, False]
    assert [cell["text"] for cell in rows["calibration error"]] == ["0.125", "0.625", "n/a"]
    assert not any(cell["best"] or cell["change"] for cell in rows["calibration error"]), "less of it is better"


def test_runs_of_which_one_leaves_the_background_out_are_said_to_be_scored_by_another_rule(tmp_path):
    folders = [write_run(tmp_path / name / "version_0", ["a", "b"], samples(4, 2), 4).folder for name in ("one", "two")]
    path = folders[1] / "records/test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"include_background": False}))
    for order, said in (
        (folders, "two/version_0: class 0 does not"),
        (folders[::-1], "one/version_0: class 0 counts in"),
    ):
        compare(order, tmp_path / "out.html")
        assert (tmp_path / "out.html").read_text().count(said) == 1


def test_a_loss_that_is_no_number_is_told(tmp_path):
    run = write_run(tmp_path / "run", ["a", "b"], samples(2, 2), 2)
    assert "not finite" not in write(run).path.read_text()
    rows = "step,epoch,train/loss,val/loss\n0,0,1,\n1,0,inf,nan\n2,0,,nan\n3,0,0.5,0.7\n"
    (run.folder / "metrics.csv").write_text(rows)
    html = write(Run(run.folder)).path.read_text()
    assert "train/loss is not finite at 1 of the 3 steps that were logged, first at step 2;" in html
    assert "val/loss is not finite at 2 of the 3 steps that were logged, first at step 2;" in html


def test_a_test_is_not_compared_with_a_validation_nor_images_that_only_share_their_name(tmp_path):
    first, second = list(samples(3, 2)), list(samples(3, 2, seed=5))
    tested = write_run(tmp_path / "one/version_0", ["a", "b"], first, 3)
    renamed = [(name, *rest) for (name, *_), (_, *rest) in zip(first, second, strict=True)]
    validated = write_run(tmp_path / "two/version_0", ["a", "b"], renamed, 3, stage="val")
    compare([tested.folder, validated.folder], tmp_path / "out.html")
    html = (tmp_path / "out.html").read_text()
    assert (
        "two/version_0: the scores are not of the same images as those of one/version_0: 3 of val and 3 of test" in html
    )
    assert "on the test split" not in html
    assert "<article" not in html


def test_a_run_keeps_its_colour_where_another_lacks_a_curve(tmp_path):
    runs = [write_run(tmp_path / name / "version_0", ["a", "b"], samples(2, 2), 2) for name in ("one", "two", "three")]
    (runs[0].folder / "metrics.csv").write_text("step,epoch,train/loss\n0,0,1\n1,0,0.5\n")
    panels = curve_panels(runs, ["one", "two", "three"])
    assert [panel["title"] for panel in panels] == ["val/miou", "train/loss"]
    colors = [{line["name"]: line["color"] for line in panel["lines"]} for panel in panels]
    assert colors[0] == {name: colors[1][name] for name in ("two", "three")}
    assert len(set(colors[1].values())) == 3
