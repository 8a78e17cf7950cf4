import json
import math
import re

import pytest
import torch

from seg.cli import main as cli
from seg.export import gate
from seg.export.parity import Refused
from seg.metrics import SegmentationMetrics


class Fixed:
    """Give the same logits for every image."""

    def __init__(self, labels: list[list[int]]):
        self.logits = torch.nn.functional.one_hot(torch.tensor([labels]), 3).permute(0, 3, 1, 2).float()

    def __call__(self, images):
        return self.logits.expand(len(images), -1, -1, -1)


def test_both_networks_are_scored_and_compared_on_the_same_pixels():
    masks = torch.tensor([[[0, 1, 2], [0, 255, 2]], [[0, 0, 0], [1, 1, 255]]], dtype=torch.uint8)
    images = torch.zeros(2, 3, 2, 3)
    first, second = Fixed([[0, 1, 2], [0, 1, 2]]), Fixed([[0, 1, 1], [0, 0, 2]])
    scores, agreement, count = gate.evaluate(
        first, second, [{"image": images, "mask": masks}], lambda: SegmentationMetrics(3)
    )
    assert count == 2
    assert agreement == pytest.approx(4 / 6)
    for network, score in zip((first, second), scores, strict=True):
        labels = network.logits.argmax(1).expand(2, -1, -1)
        counted = masks != 255
        ious = []
        for index in range(3):
            predicted, true = (labels == index) & counted, (masks == index) & counted
            if (predicted | true).any():
                ious.append(float((predicted & true).sum() / (predicted | true).sum()))
        assert score == pytest.approx(sum(ious) / len(ious))


def test_logits_of_another_size_are_scored_at_the_size_of_the_mask():
    masks = torch.zeros(1, 4, 6, dtype=torch.uint8)
    network = Fixed([[0, 0, 0], [0, 0, 0]])
    scores, agreement, _ = gate.evaluate(
        network, network, [{"image": torch.zeros(1, 3, 2, 3), "mask": masks}], lambda: SegmentationMetrics(3)
    )
    assert scores == [1.0, 1.0]
    assert agreement == 1.0


def verdict(before: float, after: float) -> gate.Verdict:
    worths = [gate.Worth(miou, 1 << 20, 0.1, 1 << 20) for miou in (before, after)]
    return gate.Verdict(*worths, 0.99, 5, (1, 3, 32, 32))


def test_a_drop_is_counted_in_points_and_refused_beyond_the_limit():
    assert verdict(0.50, 0.49).drop == pytest.approx(1.0)
    gate.refuse_drop(verdict(0.50, 0.4951), 0.5)
    gate.refuse_drop(verdict(0.50, 0.60), 0.0)
    for refused in (verdict(0.50, 0.4949), verdict(0.5, math.nan)):
        with pytest.raises(Refused, match=r"--max-drop allows 0\.5"):
            gate.refuse_drop(refused, 0.5)


@pytest.mark.slow
def test_the_gate_measures_what_seg_validate_measures(trained, tmp_path, capsys):
    from seg.export.command import export

    export(trained, tmp_path / "model.onnx", max_drop=0.01)
    held = json.loads((tmp_path / "model.onnx.json").read_text(encoding="utf-8"))["measured"]["validation"]
    capsys.readouterr()
    config = trained.parent.parent / "config.yaml"
    cli(["validate", "--config", str(config), "--ckpt_path", str(trained), "--trainer.precision", "32"], default="fit")
    (validated,) = re.findall(r"val mIoU (\d\.\d+)", capsys.readouterr().out)
    assert f"{held['original']['miou']:.4f}" == validated
    assert f"{held['exported']['miou']:.4f}" == validated
    assert held["agreement"] > 0.9999
    assert held["images"] == 5
    assert held["original"]["memory"] > 0
    assert held["exported"]["size"] == (tmp_path / "model.onnx").stat().st_size
