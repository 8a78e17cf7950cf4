"""seg score: the real command on masks drawn here, against counting by hand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg.convert.palette import write_indexed
from seg.data.names import class_names
from seg.score import main
from tests.command import REPOSITORY
from tests.masks import command, refused, save

NAMES = ["road", "sky", "tree"]


@pytest.fixture
def folders(workplace):
    """Three images of differing sizes in two folders, of classes 0..2 and 255 in the truth; class 2 nowhere."""
    Path("classes.txt").write_bytes("\ufeffroad\r\n\r\n sky \r\ntree\r\n\r\n".encode())
    rng = np.random.default_rng(0)
    for name, size in {"a": (5, 7), "b": (9, 4), "sub/c": (6, 6)}.items():
        truth = rng.integers(0, 2, size)
        truth[0] = 255
        save(Path("truth") / f"{name}.png", truth)
        save(Path("predicted") / f"{name}.png", rng.integers(0, 2, size))
    return ("predicted", "truth", "--classes", "classes.txt")


def read(folder: str) -> dict[str, np.ndarray]:
    return {path.stem: np.array(Image.open(path)) for path in Path(folder).rglob("*.png")}


def test_every_figure_is_computed_over_all_pixels_and_absent_classes_are_null(folders, capsys):
    result = command(*folders)
    truth, predicted = read("truth"), read("predicted")
    t = np.concatenate([truth[name].ravel() for name in sorted(truth)])
    p = np.concatenate([predicted[name].ravel() for name in sorted(truth)])
    t, p = t[t != 255], p[t != 255]
    iou, accuracy, precision = {}, {}, {}
    for label, name in enumerate(NAMES[:2]):
        hit = ((t == label) & (p == label)).sum()
        iou[name] = hit / ((t == label) | (p == label)).sum()
        accuracy[name], precision[name] = hit / (t == label).sum(), hit / (p == label).sum()
    assert result["images"] == 3
    assert result["pixel_accuracy"] == pytest.approx((t == p).mean(), rel=1e-12)
    assert result["mean_accuracy"] == pytest.approx(np.mean(list(accuracy.values())), rel=1e-12)
    assert result["mean_iou"] == pytest.approx(np.mean(list(iou.values())), rel=1e-12)
    share = [(t == label).mean() for label in (0, 1)]
    assert result["fw_iou"] == pytest.approx(share[0] * iou["road"] + share[1] * iou["sky"], rel=1e-12)
    for column, expected in (("iou", iou), ("accuracy", accuracy), ("precision", precision)):
        assert result[column].pop("tree") is None
        assert result[column] == pytest.approx(expected, rel=1e-12)
    assert result["f1"]["tree"] is None
    printed = capsys.readouterr().out
    assert "mean over 2 of 3 classes" in printed
    assert re.search(r"tree +n/a", printed)


def test_the_command_needs_neither_lightning_nor_albumentations(folders):
    code = f"import sys; sys.argv = ['seg', 'score', *{folders!r}]; from seg.__main__ import main; main()\n"
    code += "print(sorted({'pytorch_lightning', 'albumentations', 'segmentation_models_pytorch'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=120,
    )
    assert result.stdout.endswith("[]\n"), result.stdout + result.stderr


def test_palette_grey_and_one_bit_masks_and_other_formats_count_alike(folders):
    expected = command(*folders)
    for path in Path("predicted").rglob("*.png"):
        mask = np.array(Image.open(path))
        write_indexed(path, mask, [(1, 2, 3), (200, 0, 0), (0, 200, 0)])
    assert command(*folders) == expected
    for path in list(Path("predicted").rglob("*.png")):
        Image.fromarray(np.array(Image.open(path)).astype(bool)).save(path.with_suffix(".bmp"))
        path.unlink()
    assert command(*folders) == expected


def test_masks_pair_by_file_name_where_the_folders_are_laid_out_differently(folders):
    expected = command(*folders)
    Path("predicted/sub/c.png").rename("predicted/c.png")
    assert command(*folders)["confusion"] == expected["confusion"]


def test_the_overlays_of_predict_and_predictions_without_truth_do_not_disturb(folders, capsys):
    expected = command(*folders)
    Image.new("RGB", (7, 5)).save(save(Path("predicted/overlays/a.png"), [[0]]))
    save(Path("predicted/more.png"), [[0]])
    capsys.readouterr()
    assert command(*folders) == expected
    assert "1 predictions have no truth and are not scored: more.png" in capsys.readouterr().out


def test_a_list_says_which_masks_count(folders):
    Path("val.txt").write_text("a\n\nimages/c.jpg labels/c.png\n")
    result = command(*folders, "--list", "val.txt")
    assert result["images"] == 2
    Path("predicted/b.png").unlink()
    assert command(*folders, "--list", "val.txt") == result


def test_labels_are_mapped_on_either_side_and_further_values_ignored(folders):
    expected = command(*folders)
    for path in Path("truth").rglob("*.png"):
        mask = np.array(Image.open(path))
        save(path, np.select([mask == 255, mask == 1], [0, 255], 7))
    for path in Path("predicted").rglob("*.png"):
        save(path, np.array(Image.open(path)) + 50)
    maps = ("--label-map", "255=1", "7=0", "--ignore", "0", "--prediction-map", "50=0", "51=1")
    assert command(*folders, *maps)["confusion"] == expected["confusion"]


def test_the_background_is_dropped_from_rows_and_means_but_not_from_the_errors_of_others(folders, capsys):
    whole = command(*folders)
    capsys.readouterr()
    result = command(*folders, "--no-include-background")
    assert result["iou"] == {**whole["iou"], "road": None}
    assert result["mean_iou"] == whole["iou"]["sky"]
    printed = capsys.readouterr().out
    assert "road" not in printed
    assert "mean over 1 of 2 classes" in printed


def test_void_predictions_are_refused_where_it_counts_and_wrong_if_asked_for(folders, capsys):
    clean = command(*folders)
    Path("scores.json").unlink()
    mask = np.array(Image.open("predicted/a.png"))
    mask[0] = 255  # where the truth is ignored: no harm
    save(Path("predicted/a.png"), mask)
    assert command(*folders) == clean
    Path("scores.json").unlink()
    mask[1, :3] = 255
    save(Path("predicted/a.png"), mask)
    message = refused(capsys, *folders)
    assert "a.png: 255 (3 pixels) means ignore" in message
    assert "--void-wrong" in message
    result = command(*folders, "--void-wrong")
    assert np.sum(result["confusion"]) == np.sum(clean["confusion"])
    assert np.sum(result["confusion"], 0)[3] == 3
    wrong_before = sum(clean["confusion"][t][t] for t in range(3)) / np.sum(clean["confusion"])
    assert result["pixel_accuracy"] <= wrong_before


def test_boundary_iou_and_the_worst_images_are_there_for_the_asking(folders, capsys):
    import torch

    from seg.boundary import BoundaryIoU

    truth, predicted = read("truth"), read("predicted")
    metric = BoundaryIoU(3, 0.1)
    for name in truth:
        metric.update(torch.from_numpy(predicted[name])[None], torch.from_numpy(truth[name])[None])
    result = command(*folders, "--boundary", "0.1", "--worst", "2")
    assert result["mean_boundary_iou"] == float(metric.compute()["mean_boundary_iou"])
    printed = capsys.readouterr().out
    assert "boundary IoU" in printed
    listed = re.findall(r"^(0\.\d{4})  (\S+)$", printed.split("worst 2 of 3 images")[1], re.M)
    own = {}
    for name, mask in truth.items():
        t, p = mask[mask != 255], predicted[name][mask != 255]
        own[name] = np.mean([((t == c) & (p == c)).sum() / ((t == c) | (p == c)).sum() for c in (0, 1)])
    assert [(float(value), name.rpartition("/")[2]) for value, name in listed] == [
        (pytest.approx(own[name], abs=1e-4), name) for name in sorted(own, key=own.get)[:2]
    ]


# ---- what cannot be scored


def test_missing_predictions_are_listed(folders, capsys):
    Path("predicted/b.png").unlink()
    Path("predicted/sub/c.png").unlink()
    message = refused(capsys, *folders)
    assert "2 of 3 masks in truth have no prediction in predicted: b.png, sub/c.png" in message


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("predicted/a.png", np.zeros((7, 5)), r"a\.png is 7×5 .* but its truth truth/a\.png is 5×7"),
        ("predicted/a.png", np.full((5, 7), 9), r"prediction predicted/a\.png: label 9 \(28 pixels\).*3 classes"),
        ("truth/a.png", np.full((5, 7), 9), r"truth truth/a\.png: label 9 \(35 pixels\).*--label-map 9=255"),
        ("truth/a.png", np.zeros((5, 7, 3)), r"a\.png is a colour picture"),
        ("predicted/a.bmp", np.zeros((5, 7)), r"predicted/a\.bmp and predicted/a\.png have one name"),
    ],
)
def test_masks_that_do_not_fit_are_named_with_the_cure(folders, capsys, name, mask, message):
    save(Path(name), mask)
    assert re.search(message, refused(capsys, *folders))


def test_damaged_masks_are_named(folders, capsys):
    whole = Path("predicted/b.png").read_bytes()
    for content in (b"", b"text", whole[:40]):
        Path("predicted/b.png").write_bytes(content)
        assert "predicted/b.png" in refused(capsys, *folders)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty", "truth", "--classes", "classes.txt"], "empty: no mask in it"),
        (["predicted", "empty", "--classes", "classes.txt"], "empty: no mask in it"),
        (["predicted", "nowhere", "--classes", "classes.txt"], "nowhere: there is no such folder"),
        (["classes.txt", "truth", "--classes", "classes.txt"], "classes.txt: there is no such folder"),
        (["predicted", "truth", "--classes", "cityscape"], "did you mean cityscapes?"),
        (["predicted", "truth", "--classes", "twice.txt"], "road appears twice"),
        (["predicted", "truth", "--classes", "map.yaml"], "expected a list of names"),
        (["predicted", "truth", "--classes", "bad.json"], "not readable"),
        (["predicted", "truth", "--classes", "classes.txt", "--label-map", "9=7"], "--label-map 9=7"),
        (["predicted", "truth", "--classes", "classes.txt", "--ignore", "300"], "--ignore 300"),
        (["predicted", "truth", "--classes", "classes.txt", "--worst", "-1"], "--worst -1"),
        (["predicted", "truth", "--classes", "classes.txt", "--boundary", "0"], "width: 0.0"),
        (["predicted", "truth", "--classes", "classes.txt", "--list", "none.txt"], "--list none.txt"),
        (["predicted", "truth", "--classes", "classes.txt", "--list", "twice.txt"], "--list: road, road"),
        (["predicted", "truth", "--classes", "classes.txt", "--truth-ids", "labelIds"], "cityscapes"),
    ],
)
def test_what_is_asked_wrongly_is_told(folders, capsys, arguments, message):
    Path("empty").mkdir()
    Path("twice.txt").write_text("road\nroad\n")
    Path("map.yaml").write_text("0: road\n")
    Path("bad.json").write_text("[road, ")
    assert message in refused(capsys, *arguments)


def test_a_place_for_the_scores_that_cannot_be_is_told_before_anything_is_counted(folders, capsys):
    for place in ("predicted", "classes.txt/scores.json"):
        with pytest.raises(SystemExit) as ended:
            main([*folders, "--json", place])
        assert ended.value.code == 2
        assert f"--json {place}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "- road\n- sky\n"),
        ("c.json", '["road", "sky"]'),
        ("c.txt", "road\r\n\nsky"),
        ("c", "\ufeffroad\nsky"),
        ("labels.txt", "__ignore__\nroad\nsky\n"),
    ],
)
def test_class_lists_come_in_several_forms(workplace, name, text):
    Path(name).write_text(text, encoding="utf-8")
    assert class_names(name) == ["road", "sky"]


def test_camvids_void_and_vocs_border_are_ignored(workplace):
    save(Path("t/x.png"), [[0, 1, 11, 11]])
    save(Path("p/x.png"), [[0, 0, 5, 11]])
    result = command("p", "t", "--classes", "camvid")
    assert result["pixel_accuracy"] == 0.5
    assert result["iou"]["Sky"] == 0.5
    save(Path("t/x.png"), [[0, 20, 255, 255]])
    save(Path("p/x.png"), [[0, 20, 5, 255]])
    assert command("p", "t", "--classes", "voc")["iou"]["tvmonitor"] == 1
