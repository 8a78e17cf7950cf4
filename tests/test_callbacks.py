"""What watches a run draws what was logged."""

import numpy as np

from seg.callbacks import draw_curves
from seg.loggers import CSV
from seg.loggers.csv import finite_points


def test_curves_count_steps_as_the_page_does(tmp_path, monkeypatch):
    csv = CSV(tmp_path)
    for step in range(3):
        csv.log_metrics({"train/loss": 1.0 / (step + 1), "lr/net": 0.1, "epoch": 0}, step)
    csv.log_metrics({"val/loss": 0.5, "val/miou": 0.25}, 2)
    drawn = {}

    def curves(panels):
        drawn.update(panels)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("seg.charts.curves", curves)
    assert draw_curves(csv, tmp_path / "curves.png")
    assert drawn["loss"] == {name: finite_points(csv.series(), name) for name in ("train/loss", "val/loss")}
    assert drawn["scores"] == {"val/miou": [(3.0, 0.25)]}
    assert [step for step, _ in drawn["learning rate"]["lr/net"]] == [1.0, 2.0, 3.0]
