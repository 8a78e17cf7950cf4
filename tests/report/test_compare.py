import json
from pathlib import Path

import pytest

from seg.report import facts
from seg.report.command import compare
from seg.report.compare import curve_panels, score_rows
from seg.report.run import Run
from tests.report.folders import samples, write_run


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
