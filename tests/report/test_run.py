"""Reading run folders, whole ones and what is left of others."""

import math
import re
import zipfile

import numpy as np
import pytest

from seg import draw
from seg.report import embedding, facts
from seg.report.command import main, report
from seg.report.embedding import embedded_json, plotly, source
from seg.report.page import pairs_of, write
from seg.report.run import ImageEntry, Run, iou_of
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


def test_a_loss_that_is_no_number_is_told(tmp_path):
    run = write_run(tmp_path / "run", ["a", "b"], samples(2, 2), 2)
    assert "not finite" not in write(run).path.read_text()
    rows = "step,epoch,train/loss,val/loss\n0,0,1,\n1,0,inf,nan\n2,0,,nan\n3,0,0.5,0.7\n"
    (run.folder / "metrics.csv").write_text(rows)
    html = write(Run(run.folder)).path.read_text()
    assert "train/loss is not finite at 1 of the 3 steps that were logged, first at step 2;" in html
    assert "val/loss is not finite at 2 of the 3 steps that were logged, first at step 2;" in html
