"""The confusion matrix and everything computed from it, against plain numpy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seg.metrics import SegmentationMetrics, count_without_waiting, image_iou, scores, table, worst_table


def reference(prediction, target, classes, ignore):
    """Count pixel by pixel, and divide as the definitions say."""
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True):
        if t != ignore:
            confusion[t, p] += 1
    m = confusion.astype(np.float64)
    with np.errstate(all="ignore"):
        tp, truth, predicted = np.diag(m), m.sum(1), m.sum(0)
        iou = tp / (truth + predicted - tp)
        accuracy, precision, f1 = tp / truth, tp / predicted, 2 * tp / (truth + predicted)
        seen = iou[~np.isnan(iou)]
        result = {
            "pixel_accuracy": tp.sum() / m.sum(),
            "mean_accuracy": accuracy[truth > 0].mean() if (truth > 0).any() else np.nan,
            "miou": seen.mean() if len(seen) else np.nan,
            "fw_iou": np.sum(truth[truth > 0] * iou[truth > 0]) / truth.sum(),
            "mean_precision": precision[predicted > 0].mean() if (predicted > 0).any() else np.nan,
            "mean_recall": accuracy[truth > 0].mean() if (truth > 0).any() else np.nan,
            "mean_f1": f1[~np.isnan(f1)].mean() if len(seen) else np.nan,
            "present": len(seen),
            "classes": classes,
            "confusion": confusion,
            "iou": iou,
            "accuracy": accuracy,
            "recall": accuracy,
            "precision": precision,
            "f1": f1,
        }
    return confusion, result


@st.composite
def cases(draw):
    classes = draw(st.sampled_from([2, 3, 11, 19, 150, 255]))
    seed = draw(st.integers(0, 2**31))
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)))
    rng = np.random.default_rng(seed)
    used = rng.permutation(classes)[: draw(st.integers(1, classes))]  # the others are absent
    target = rng.choice(used, shape)
    target[rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 255
    return classes, rng.choice(used, shape), target, rng


@settings(max_examples=150, deadline=None)
@given(
    cases(),
    st.sampled_from([torch.uint8, torch.int64, torch.int32]),
    st.sampled_from([torch.uint8, torch.int64]),
    st.booleans(),
)
def test_every_score_equals_the_reference_for_any_types_batches_and_absent_classes(case, type_p, type_t, by_image):
    classes, prediction, target, rng = case
    confusion, expected = reference(prediction, target, classes, 255)
    metric = SegmentationMetrics(classes)
    p, t = torch.from_numpy(prediction).to(type_p), torch.from_numpy(target).to(type_t)
    for index in rng.permutation(len(p)) if by_image else [slice(None)]:
        metric.update(p[index].reshape(-1, *p.shape[1:]), t[index].reshape(-1, *t.shape[1:]))
    assert metric.confusion.dtype is torch.int64
    assert np.array_equal(metric.confusion.numpy(), confusion)
    result = metric.compute()
    assert set(result) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(result[name].numpy(), value, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_count_as_the_first_of_their_largest_channels(layout, dtype):
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 7, 10, 11))).to(dtype).to(memory_format=layout)
    target = torch.from_numpy(rng.integers(0, 7, (3, 10, 11)))
    metric = SegmentationMetrics(7)
    metric.update(logits, target)
    expected, _ = reference(logits.float().numpy().argmax(1), target.numpy(), 7, 255)
    assert np.array_equal(metric.confusion.numpy(), expected)


@pytest.mark.parametrize("ignore", [255, -1, -100, 200, 11])
def test_any_ignore_index_outside_the_classes_works_in_any_type_that_holds_it(ignore):
    rng = np.random.default_rng(1)
    target = rng.integers(0, 11, (2, 8, 8))
    target[:, :3] = ignore
    prediction = rng.integers(0, 11, (2, 8, 8))
    expected, _ = reference(prediction, target, 11, ignore)
    for dtype in (torch.uint8, torch.int64) if ignore >= 0 else (torch.int64, torch.int16):
        metric = SegmentationMetrics(11, ignore_index=ignore)
        metric.update(torch.from_numpy(prediction), torch.from_numpy(target).to(dtype))
        assert np.array_equal(metric.confusion.numpy(), expected)


def test_a_class_without_union_is_left_out_of_the_mean_and_a_class_predicted_in_vain_counts_as_zero():
    # Class 0 is half right, class 1 absent, class 2 only predicted.
    result = scores(torch.tensor([[2, 0, 2], [0, 0, 0], [0, 0, 0]]))
    assert result["iou"].tolist()[::2] == [0.5, 0.0]
    assert result["iou"][1].isnan()
    assert result["miou"] == 0.25
    assert result["mean_accuracy"] == 0.5  # of one class: the others have no truth
    assert result["present"] == 2


def test_leaving_out_the_background_drops_its_row_and_keeps_its_pixels_as_errors_of_others():
    confusion = torch.tensor([[90, 10], [5, 20]])
    result = scores(confusion, include_background=False)
    assert result["iou"][0].isnan()
    assert result["miou"] == result["iou"][1] == 20 / 35
    assert result["precision"][1] == 20 / 30
    assert result["fw_iou"] == 20 / 35
    assert result["pixel_accuracy"] == 110 / 125
    assert result["present"] == 1


def test_nothing_counted_gives_nan_and_zero_classes():
    result = SegmentationMetrics(3).compute()
    assert result["miou"].isnan()
    assert result["pixel_accuracy"].isnan()
    assert result["fw_iou"].isnan()
    assert result["present"] == 0


def test_parts_sum_to_the_whole_as_processes_do():
    rng = np.random.default_rng(2)
    whole, parts = SegmentationMetrics(5), [SegmentationMetrics(5), SegmentationMetrics(5)]
    for index in range(7):
        p, t = (torch.from_numpy(rng.integers(0, 5, (1, 6, 6))) for _ in range(2))
        whole.update(p, t)
        parts[index % 2].update(p, t)
    assert torch.equal(whole.confusion, parts[0].confusion + parts[1].confusion)
    assert all(
        reduction is torch.sum or reduction.__name__ == "dim_zero_sum" for reduction in whole._reductions.values()
    )


def test_deterministic_algorithms_change_nothing():
    p, t = torch.randint(0, 5, (2, 8, 8)), torch.randint(0, 5, (2, 8, 8))
    stock, strict = SegmentationMetrics(5), SegmentationMetrics(5)
    stock.update(p, t)
    torch.use_deterministic_algorithms(True)
    try:
        strict.update(p, t)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(stock.confusion, strict.confusion)


def test_the_path_of_other_devices_counts_the_same_and_never_asks_for_a_value():
    # A tensor that claims to be elsewhere takes the path for GPUs, where bincount would wait for the device.
    rng = np.random.default_rng(3)
    prediction, target = rng.integers(0, 6, 500), rng.integers(0, 7, 500)
    target[target == 6] = 255
    expected, _ = reference(prediction, target, 6, 255)
    for dtype in (torch.uint8, torch.int64):
        counts, invalid = count_without_waiting(
            torch.from_numpy(prediction).to(dtype), torch.from_numpy(target).to(dtype), 6, 255
        )
        assert np.array_equal(counts.numpy(), expected)
        assert invalid == 0
    target[:3], prediction[3:5] = 77, 6
    target[3:5] = 0
    counts, invalid = count_without_waiting(torch.from_numpy(prediction), torch.from_numpy(target), 6, 255)
    assert invalid == 5
    assert counts.sum() == ((target < 6) & (prediction < 6)).sum()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_labels_that_are_no_class_are_refused_and_named(dtype):
    good, bad = torch.zeros(1, 4, 4, dtype=dtype), torch.zeros(1, 4, 4, dtype=dtype)
    bad[0, 0, :2] = torch.tensor([37, 12])
    with pytest.raises(ValueError, match=r"target: label 12, 37 where there are 11 classes; labels are 0\.\.10 or 255"):
        SegmentationMetrics(11).update(good, bad)
    with pytest.raises(ValueError, match="prediction: label 12, 37 where there are 11 classes"):
        SegmentationMetrics(11).update(bad, good)
    ignored = torch.full((1, 4, 4), 255, dtype=dtype)
    with pytest.raises(ValueError, match="prediction: label 255"):
        SegmentationMetrics(11).update(ignored, good)


def test_shapes_and_types_that_do_not_fit_are_refused():
    metric = SegmentationMetrics(3)
    target = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"size \(1, 4, 5\) for a target of \(1, 4, 4\)"):
        metric.update(torch.zeros(1, 3, 4, 5), target)
    with pytest.raises(ValueError, match="4 channels of logits for 3 classes"):
        metric.update(torch.zeros(1, 4, 4, 4), target)
    with pytest.raises(ValueError, match=r"target: type torch\.float32"):
        metric.update(target, target.float())
    with pytest.raises(ValueError, match="neither labels nor logits"):
        metric.update(torch.zeros(1, 4, 4), target)
    with pytest.raises(ValueError, match="num_classes: 1"):
        SegmentationMetrics(1)
    with pytest.raises(ValueError, match="ignore_index: 2 is one of the 3 classes"):
        SegmentationMetrics(3, ignore_index=2)


def test_the_table_shows_absent_classes_as_not_applicable_and_says_how_many_there_are():
    text = table(scores(torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])), ["road", "sky", "bicyclist"])
    assert text.splitlines() == [
        "class         IoU  accuracy  precision      F1",
        "road       0.7500    0.7500     1.0000  0.8571",
        "sky        0.8000    1.0000     0.8000  0.8889",
        "bicyclist     n/a       n/a        n/a     n/a",
        "mean       0.7750    0.8750     0.9000  0.8730",
        "mean over 2 of 3 classes · pixel accuracy 0.8750 · frequency-weighted IoU 0.7750",
    ]
    with pytest.raises(ValueError, match="names: 1 for 3 classes"):
        table(scores(torch.eye(3)), ["road"])


def test_the_table_has_no_row_for_a_background_that_is_not_counted_and_shows_what_else_was_measured():
    result = scores(torch.tensor([[3, 1], [0, 4]]), include_background=False)
    more = {"boundary_iou": torch.tensor([torch.nan, 0.5]), "mean_boundary_iou": torch.tensor(0.5)}
    text = table({**result, **more, "calibration_error": torch.tensor(0.125)}, ["background", "leaf"])
    assert text.splitlines() == [
        "class     IoU  accuracy  precision      F1  boundary IoU",
        "leaf   0.8000    1.0000     0.8000  0.8889        0.5000",
        "mean   0.8000    1.0000     0.8000  0.8889        0.5000",
        "mean over 1 of 1 classes · pixel accuracy 0.8750 · frequency-weighted IoU 0.8000",
        "calibration_error 0.1250",
    ]


def test_predictions_that_are_no_class_are_errors_of_the_truth_alone():
    # Class 0: 2 right of 4, one of them taken for 1, one for nothing; class 1: 3 right.
    result = scores(torch.tensor([[2, 1, 1], [0, 3, 0]]))
    assert result["iou"].tolist() == [0.5, 0.75]
    assert result["accuracy"].tolist() == [0.5, 1.0]
    assert result["precision"].tolist() == [1.0, 0.75]
    assert result["pixel_accuracy"] == 5 / 7


def test_the_worst_images_are_listed_by_the_mean_of_their_own_classes():
    nan = torch.nan
    images = [
        ("good", torch.tensor([1.0, 0.8])),
        ("bad", torch.tensor([0.2, nan])),
        ("empty", torch.tensor([nan, nan])),
    ]
    assert worst_table(images, 5).splitlines()[1:] == ["0.2000  bad", "0.9000  good"]
    assert worst_table(images, 1).splitlines()[1:] == ["0.2000  bad"]


def test_the_iou_of_each_image_stands_alone():
    rng = np.random.default_rng(4)
    prediction, target = rng.integers(0, 3, (4, 5, 5)), rng.integers(0, 3, (4, 5, 5))
    target[0], prediction[0] = 0, 0
    result = image_iou(torch.from_numpy(prediction), torch.from_numpy(target), 3)
    for index in range(4):
        _, expected = reference(prediction[index], target[index], 3, 255)
        np.testing.assert_allclose(result[index], expected["iou"])
