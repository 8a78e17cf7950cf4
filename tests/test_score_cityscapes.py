"""seg score on masks of Cityscapes, against the official rules."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seg.convert.cityscapes_labels import LABELS, TRAIN_LABELS
from seg.convert.palette import write_indexed
from tests.masks import command, refused, save


def official(predictions, truths) -> dict[str, float]:
    """IoU by the rules of the official script, on labelIds: a 34 × 34 matrix, of which the rows that are scored count.

    What is predicted on a scored pixel misses the pixel's class whatever it is; it is a false positive only for a class
    that is scored, and only on scored pixels.
    """
    matrix = np.zeros((34, 34), dtype=np.int64)
    for p, t in zip(predictions, truths, strict=True):
        np.add.at(matrix, (t.ravel(), p.ravel()), 1)
    scored = [label.id for label in TRAIN_LABELS]
    ious = {}
    for label in TRAIN_LABELS:
        tp = matrix[label.id, label.id]
        fn = matrix[label.id].sum() - tp
        fp = sum(matrix[other, label.id] for other in scored if other != label.id)
        ious[label.name] = tp / (tp + fn + fp) if tp + fn + fp else None
    return ious


@pytest.fixture
def cityscapes(workplace):
    """Two frames with all ids in truth and prediction, in the official tree, with the files that lie beside masks."""
    rng = np.random.default_rng(1)
    masks = {}
    for city, frame in (("ulm", "ulm_000000_000019"), ("bad-honnef", "bad-honnef_000010_000019")):
        truth = rng.integers(0, 34, (24, 40)).astype(np.uint8)
        truth[truth == 31] = 7  # trains are predicted but not there
        predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 34, truth.shape)).astype(np.uint8)
        predicted[predicted == 32] = 0
        truth[truth == 32] = 1  # motorcycles are neither
        masks[frame] = predicted, truth
        save(Path(f"gt/{city}/{frame}_gtFine_labelIds.png"), truth)
        save(Path(f"gt/{city}/{frame}_gtFine_color.png"), np.zeros((24, 40, 4)))
        Image.fromarray(truth.astype(np.uint16) * 1000).save(f"gt/{city}/{frame}_gtFine_instanceIds.png")
        save(Path(f"pred/{frame}_result.png"), predicted)
    return masks


def test_it_equals_the_official_cityscapes_rules_on_label_ids(cityscapes):
    result = command("pred", "gt", "--classes", "cityscapes")
    expected = official(*zip(*cityscapes.values(), strict=True))
    assert expected["train"] == 0
    assert expected["motorcycle"] is None
    assert result["iou"] == expected
    assert result["mean_iou"] == pytest.approx(
        np.mean([iou for iou in expected.values() if iou is not None]), rel=1e-12
    )


def to_train_ids(mask):
    table = np.full(256, 255, np.uint8)
    for label in LABELS:
        if label.id >= 0:
            table[label.id] = label.train_id
    return table[mask]


def test_train_ids_count_like_label_ids_on_either_side_by_name_option_or_palette(cityscapes):
    for frame, (predicted, _) in cityscapes.items():  # predictions of scored classes alone
        save(Path(f"pred/{frame}_result.png"), np.where(to_train_ids(predicted) == 255, 7, predicted))
    expected = command("pred", "gt", "--classes", "cityscapes")
    for frame, (_, truth) in cityscapes.items():
        predicted = to_train_ids(np.array(Image.open(f"pred/{frame}_result.png")))
        save(Path(f"gt_train/{frame}_gtFine_labelTrainIds.png"), to_train_ids(truth))
        save(Path(f"named/{frame}_labelTrainIds.png"), predicted)
        save(Path(f"grey/{frame}.png"), predicted)
        colors = [label.color for label in TRAIN_LABELS]
        write_indexed(f"palette/{frame}_leftImg8bit.png", predicted, colors)
    for arguments in (
        ["pred", "gt_train"],
        ["named", "gt"],
        ["named", "gt_train"],
        ["palette", "gt"],
        ["grey", "gt", "--prediction-ids", "trainIds"],
        ["pred", "gt", "--prediction-ids", "labelIds", "--truth-ids", "labelIds"],
    ):
        assert command(*arguments, "--classes", "cityscapes")["iou"] == expected["iou"], arguments


def test_what_cityscapes_masks_leave_open_is_asked_for(cityscapes, capsys):
    for frame in cityscapes:
        save(Path(f"grey/{frame}.png"), np.zeros((24, 40)))
    assert "--prediction-ids labelIds or --prediction-ids trainIds" in refused(
        capsys, "grey", "gt", "--classes", "cityscapes"
    )
    frame = next(iter(cityscapes))
    save(Path(f"pred/{frame}_other.png"), np.zeros((24, 40)))
    assert "several masks of one image" in refused(capsys, "pred", "gt", "--classes", "cityscapes")
    for path in Path("pred").glob(f"{frame}*"):
        path.unlink()
    assert f"have no prediction in pred: ulm/{frame}" in refused(capsys, "pred", "gt", "--classes", "cityscapes")


def test_a_value_that_is_no_cityscapes_id_is_refused(cityscapes, capsys):
    frame, (predicted, truth) = next(iter(cityscapes.items()))
    predicted = predicted.copy()
    predicted[truth == 7] = 40
    save(Path(f"pred/{frame}_result.png"), predicted)
    assert "label 40" in refused(capsys, "pred", "gt", "--classes", "cityscapes")
    predicted[truth == 7] = 255
    save(Path(f"pred/{frame}_result.png"), predicted)
    assert "255" in refused(capsys, "pred", "gt", "--classes", "cityscapes")


def test_it_equals_the_official_cityscapes_script_where_that_is_installed(cityscapes):
    script = pytest.importorskip("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling", exc_type=ImportError)
    script.args.evalInstLevelScore, script.args.quiet, script.args.JSONOutput = False, True, False
    truths = sorted(Path("gt").rglob("*_labelIds.png"), key=lambda path: path.name)
    predictions = sorted(Path("pred").glob("*.png"), key=lambda path: path.name)
    expected = script.evaluateImgLists([str(path) for path in predictions], [str(path) for path in truths], script.args)
    result = command("pred", "gt", "--classes", "cityscapes")
    for name, iou in result["iou"].items():
        assert expected["classScores"][name] == pytest.approx(np.nan if iou is None else iou, rel=1e-12, nan_ok=True)
    assert expected["averageScoreClasses"] == pytest.approx(result["mean_iou"], rel=1e-12)
