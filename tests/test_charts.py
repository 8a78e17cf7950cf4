import subprocess
import sys

import numpy as np
import pytest

from seg import charts

COLORS = [(10, 20, 30), (200, 100, 0), (0, 0, 250)]


def test_curves_leave_out_what_is_not_finite_and_need_not_have_anything_to_draw():
    steps = [(step, 1 / (step + 1)) for step in range(300)]
    full = charts.curves({"loss": {"train": steps, "val": [(10, 0.5), (20, float("nan")), (30, float("inf"))]}})
    assert full.dtype == np.uint8
    assert full.shape[2] == 3
    assert full.std() > 5
    assert charts.curves({}).ndim == 3
    assert charts.curves({"loss": {"train": [], "val": [(1, float("nan"))]}}).ndim == 3


def test_curves_leave_pyplot_and_its_settings_alone():
    code = (
        "import sys; from seg import charts; assert 'matplotlib' not in sys.modules; import matplotlib\n"
        "before = matplotlib.rcParams.copy(); charts.curves({'loss': {'train': [(0, 1.0), (1, 0.5)]}})\n"
        "assert 'matplotlib.pyplot' not in sys.modules; assert matplotlib.rcParams.copy() == before\n"
        "assert 'torch' not in sys.modules and 'pytorch_lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bars_are_as_long_as_their_values_and_missing_ones_have_none():
    picture = charts.per_class_bars(["a", "b", "c", "d"], [1.0, 0.5, float("nan"), 0.0], [*COLORS, (9, 200, 9)])
    lengths = [(picture == np.array(color)).all(axis=2).sum(axis=1).max() for color in [*COLORS, (9, 200, 9)]]
    assert lengths[1] / lengths[0] == pytest.approx(0.5, abs=0.01)
    assert lengths[2:] == [0, 0]
