import subprocess
import sys
import warnings

import numpy as np
import pytest

from seg import charts

COLORS = [(10, 20, 30), (200, 100, 0), (0, 0, 250)]
HARD_NAMES = [
    "$x$ and $y",
    r"$\frac{$",
    "<script>alert(1)</script>",
    "🚗",
    "_hidden",
    "Straße",
    "道路",
    "طريق",
    "a\nb",
    "x" * 500,
    "",
]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_curves_leave_out_what_is_not_finite_and_need_not_have_anything_to_draw():
    steps = [(step, 1 / (step + 1)) for step in range(300)]
    full = charts.curves({"loss": {"train": steps, "val": [(10, 0.5), (20, float("nan")), (30, float("inf"))]}})
    assert full.dtype == np.uint8
    assert full.shape[2] == 3
    assert full.std() > 5
    assert charts.curves({}).ndim == 3
    assert charts.curves({"loss": {"train": [], "val": [(1, float("nan"))]}}).ndim == 3


def test_many_curves_look_different_and_their_legend_leaves_them_room():
    many = {f"class {index} with a name that is long": [(0, 0.0), (9, index)] for index in range(150)}
    charts.curves({"IoU": many})  # matplotlib warns where nothing is left
    low, high = [(0, 0.0), (9, 0.0)], [(0, 1.0), (9, 1.0)]
    lines = [{str(index): high if index == raised else low for index in range(8)} for raised in (0, 7)]
    first, eighth = (charts.curves({"IoU": drawn})[:180].astype(int) for drawn in lines)
    assert (np.abs(first - eighth).sum(axis=2) > 100).sum() > 50, "one colour, but dashes"


def test_charts_leave_pyplot_its_backend_and_its_settings_alone():
    code = (
        "import sys; from seg import charts, draw, features\n"
        "assert 'matplotlib' not in sys.modules; import matplotlib\n"
        "before = matplotlib.rcParams.copy(); charts.curves({'loss': {'train': [(0, 1.0), (1, 0.5)]}})\n"
        "charts.confusion_matrix([[3, 1], [0, 2]], ['a', 'b']); charts.class_bars([0.5], ['a'])\n"
        "assert 'matplotlib.pyplot' not in sys.modules; assert matplotlib.rcParams.copy() == before\n"
        "assert not {'torch', 'pytorch_lightning', 'seg.data', 'seg.task'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bars_are_as_long_as_their_values_and_missing_ones_have_none():
    colors = [*COLORS, (9, 200, 9)]
    picture = charts.class_bars([1.0, 0.5, float("nan"), 0.0], ["a", "b", "c", "d"], colors=colors)
    lengths = [(picture == np.array(color)).all(axis=2).sum(axis=1).max() for color in colors]
    assert lengths[0] > 200
    assert lengths[1] / lengths[0] == pytest.approx(0.5, abs=0.02)
    assert lengths[2:] == [0, 0]


def test_the_frequencies_of_classes_are_bars_on_a_logarithmic_scale():
    picture = charts.frequencies([999_000, 1_000, 0], ["a", "b", "c"], COLORS)
    lengths = [(picture == np.array(color)).all(axis=2).sum(axis=1).max() for color in COLORS]
    assert lengths[1] / lengths[0] == pytest.approx(0.5, abs=0.02), "a thousandth is three of six powers of ten"
    assert lengths[2] == 0
    assert charts.frequencies([0, 0], ["a", "b"]).ndim == 3


@pytest.mark.parametrize("normalize", ["truth", "prediction", None])
def test_the_cells_of_a_confusion_matrix_are_as_dark_as_their_share(normalize):
    import matplotlib

    matrix = np.array([[800, 200, 0], [100, 300, 0], [0, 0, 0]])
    shares = {
        "truth": matrix[:2, :2] / matrix[:2, :2].sum(axis=1, keepdims=True),
        "prediction": matrix[:2, :2] / matrix[:2, :2].sum(axis=0),
        None: np.log10(matrix[:2, :2]) / np.log10(800),
    }[normalize]
    picture = charts.confusion_matrix(matrix, ["a", "b", "c"], normalize).astype(int)
    middles = {}
    for cell, share in np.ndenumerate(shares):
        color = np.array(matplotlib.colormaps["Blues"](float(share))[:3]) * 255
        inside = np.argwhere(np.abs(picture - color).max(axis=2) <= 2)
        assert len(inside) > 10_000, f"no area has the colour of {cell}"
        middles[cell] = np.median(inside, axis=0)
    side = middles[0, 1][1] - middles[0, 0][1]
    assert side > 100
    for cell, middle in middles.items():
        assert middle == pytest.approx(middles[0, 0] + side * np.array(cell), abs=0.1 * side), "rows are the truth"
    assert (picture == np.array([236, 236, 234])).all(axis=2).any(), "what has no pixels is grey"


@pytest.mark.parametrize("classes", [2, 19, 150])
def test_a_confusion_matrix_has_room_for_the_name_of_every_class(classes):
    rng = np.random.default_rng(0)
    picture = charts.confusion_matrix(rng.integers(0, 1000, (classes, classes)), [f"class {i}" for i in range(classes)])
    assert picture.shape[0] / classes >= 12, "pixels a row"
    assert picture.shape[0] < 3000


def test_a_confusion_matrix_of_other_size_than_its_names_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\) for 2"):
        charts.confusion_matrix(np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(ValueError, match="normalize 'rows'"):
        charts.confusion_matrix(np.zeros((2, 2)), ["a", "b"], "rows")
    with pytest.raises(ValueError, match="1 frequencies for 2"):
        charts.class_bars([0.5, 0.5], ["a", "b"], frequency=[1.0])


def test_names_in_any_script_with_dollars_or_tags_are_drawn_without_a_warning(caplog):
    number = len(HARD_NAMES)
    charts.confusion_matrix(np.eye(number), HARD_NAMES)
    charts.class_bars([0.5] * number, HARD_NAMES, frequency=[0.1] * number, title="$a$")
    charts.frequencies(range(number), HARD_NAMES)
    charts.curves({"$loss": {name: [(0, 1.0), (1, 0.5)] for name in HARD_NAMES}})
    charts.histogram([0.1, float("nan")], title="$IoU$ 🚗")
    assert not caplog.records, "matplotlib tells of missing fonts there"


def test_nothing_counted_is_drawn_as_nothing():
    assert charts.confusion_matrix(np.zeros((3, 3), np.int64), ["a", "b", "c"]).ndim == 3
    assert charts.confusion_matrix(np.zeros((3, 3), np.int64), ["a", "b", "c"], None).ndim == 3
    assert charts.class_bars([float("nan")], ["a"]).ndim == 3
    assert charts.histogram([]).ndim == 3


def test_a_histogram_has_a_bar_as_high_as_its_bin_is_full():
    picture = charts.histogram([0.05] * 4 + [0.95] * 2, bins=10)
    blue = (picture == np.array([0x00, 0x72, 0xB2])).all(axis=2).sum(axis=0)
    left, right = blue[: len(blue) // 2].max(), blue[len(blue) // 2 :].max()
    assert right / left == pytest.approx(0.5, abs=0.03)
