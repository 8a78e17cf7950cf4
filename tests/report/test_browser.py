"""The page in a real browser: no errors, no requests, and its controls do what they say."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from seg import draw
from seg.report.command import compare
from seg.report.page import write
from seg.report.run import Run
from tests.report.folders import log_classes, opened, samples, write_run

HOSTILE = [
    "sky",
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "🚗 car\u2028'\"",
    "<img src=http://example.invalid/x.png onerror=alert(3)>",
    "{{ 7 * 7 }}",
    "<b>%{y}</b>&amp;",
]


def test_a_page_opens_its_slider_moves_its_filters_filter(tmp_path: Path):
    run = write_run(tmp_path / "run", HOSTILE, samples(12, len(HOSTILE)), 12)
    with opened(write(run).path) as page:
        page.wait_for_selector("#image-classes td")
        assert page.locator("#class-table tbody button").all_text_contents() == HOSTILE
        order = [
            run.images[int(i)].mean for i in page.locator(".tile").evaluate_all("all => all.map(t => t.dataset.index)")
        ]
        assert order == sorted(order)
        assert len(order) == 12

        # the slider: keys, then the pointer
        slider = page.locator("#slider")
        slider.focus()
        for key, expected in (("ArrowRight", "52"), ("PageDown", "42"), ("Home", "0"), ("End", "100")):
            page.keyboard.press(key)
            assert slider.get_attribute("aria-valuenow") == expected, key
        page.locator("#stage").scroll_into_view_if_needed()
        box = page.locator("#stage").bounding_box()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 20, steps=3)
        page.mouse.up()
        assert slider.get_attribute("aria-valuenow") == "25"
        assert page.locator("#left").evaluate("canvas => canvas.style.clipPath") == "inset(0px 75% 0px 0px)"

        # a class: images that have it, by its own IoU; only its pixels are coloured
        page.select_option("#class-filter", "2")
        indices = page.locator(".tile").evaluate_all("all => all.map(t => Number(t.dataset.index))")
        expected = [i for i, image in enumerate(run.images) if image.iou[2] == image.iou[2]]
        assert sorted(indices) == expected
        assert [run.images[i].iou[2] for i in indices] == sorted(run.images[i].iou[2] for i in expected)
        assert "is coloured" in page.locator("#stage-note").text_content()

        # its errors, in the colours of every other error map
        page.locator("#layers label", has_text="errors").click()
        assert "blue is found, magenta is missed, amber is no" in page.locator("#stage-note").text_content()
        shown = int(page.locator(".tile[aria-current=true]").get_attribute("data-index"))
        check_errors(page, run, shown, 2)
        page.locator("#layers label", has_text="truth | prediction").click()

        # a cell of the matrix, through the table and through the picture
        first = page.locator("#confusion-table [data-pair]").first
        truth, prediction = map(int, first.get_attribute("data-pair").split(","))
        first.click()
        check_pair(page, run, truth, prediction)
        check_focus(page)
        page.locator("#pair-clear").focus()
        page.keyboard.press("Enter")
        assert page.locator(".tile").count() == 12
        check_focus(page)
        page.locator("#matrix").scroll_into_view_if_needed()
        page.wait_for_selector("#matrix .nsewdrag")
        area = page.locator("#matrix .nsewdrag").bounding_box()
        page.mouse.move(area["x"] + area["width"] * 3.5 / 7, area["y"] + area["height"] * 2.5 / 7)
        page.wait_for_selector("#matrix .hoverlayer text")
        assert "of the truth" in page.locator("#matrix .hoverlayer").text_content()
        page.mouse.click(area["x"] + area["width"] * 3.5 / 7, area["y"] + area["height"] * 2.5 / 7)
        page.wait_for_selector("#pair-clear:has-text('🚗')")
        check_pair(page, run, 2, 3)

        # what is right is no error, and a lonely line has its name too
        page.locator("#layers label", has_text="errors").click()
        page.evaluate("choosePair(2, 2)")
        assert f"Only the pixels of {HOSTILE[2]} that were found" in page.text_content("#stage-note")
        shown = int(page.locator(".tile[aria-current=true]").get_attribute("data-index"))
        truth, said = (run.images[shown].arrays()[name] for name in ("truth", "prediction"))
        found = errors_painted(page, truth.shape)[(truth == 2) & (said == 2)].mean(axis=0)
        assert np.abs(found - draw.HIT).sum() < np.abs(found - draw.WRONG).sum()
        page.locator("#layers label", has_text="truth | prediction").click()
        assert page.locator("[data-panel='0'] .legendtext").all_text_contents() == ["train/loss"]

        # a pair that is typed, and the other readings of the matrix
        page.select_option("#pair-truth", "4")
        page.select_option("#pair-prediction", "5")
        page.locator("#pair-form button").click()
        check_pair(page, run, 4, 5)
        check_focus(page)
        matrix = run.record().confusion
        for mode, expected in (
            ("prediction", matrix / matrix.sum(0)),
            ("pixels", np.log10(np.maximum(matrix, 1))),
            ("truth", matrix / matrix.sum(1, keepdims=True)),
        ):
            page.locator(f"#matrix-mode input[value={mode}]").evaluate("box => box.click()")
            drawn = page.evaluate("document.getElementById('matrix').data[0].z")
            known = np.array([[np.nan if value is None else value for value in row] for row in drawn])
            assert np.allclose(np.nan_to_num(known), expected), mode

        # a class, by its name in the table; by keyboard, the focus follows to the images
        page.locator("#class-table [data-class='3']").focus()
        page.keyboard.press("Enter")
        assert page.locator("#class-filter").input_value() == "3"
        check_focus(page)
        page.select_option("#class-filter", "")
        check_walk(page, run)

        # sorting: largest first, then smallest, rows without a value last
        page.locator("#class-table thead button", has_text="IoU").first.click()
        shown = page.locator("#class-table tbody td:nth-child(2)").evaluate_all("all => all.map(t => t.dataset.value)")
        assert [float(value) for value in shown] == sorted(run.record().scores["iou"], reverse=True)
        assert page.locator("#curves .main-svg").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def check_focus(page) -> None:
    """The heading of the images has the focus, and is in sight."""
    assert page.evaluate("document.activeElement.id") == "images-heading"


def errors_painted(page, size: tuple[int, int]) -> np.ndarray:
    """Return what is painted at the right of the large picture, where errors are shown."""
    page.wait_for_function("document.getElementById('right').getAttribute('aria-label').startsWith('errors of')")
    # of a copy: Chromium warns of looking at one canvas often
    script = """canvas => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        return [...copy.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, index) => index % 4 < 3);
    }"""
    return np.array(page.locator("#right").evaluate(script)).reshape(*size, 3)


def check_errors(page, run: Run, index: int, cls: int) -> None:
    """Compare the errors of a class on the canvas with those of the labels, by the colours of `seg.draw`."""
    truth, said = (run.images[index].arrays()[name] for name in ("truth", "prediction"))
    scored = truth != 255
    kinds = {
        draw.HIT: scored & (truth == cls) & (said == cls),
        draw.MISS: scored & (truth == cls) & (said != cls),
        draw.FALSE_ALARM: scored & (truth != cls) & (said == cls),
        draw.UNSCORED: ~scored,
    }
    nearest = np.abs(errors_painted(page, truth.shape)[:, :, None] - np.array(list(kinds))).sum(-1).argmin(-1)
    for number, pixels in enumerate(kinds.values()):
        assert (nearest[pixels] == number).all(), list(kinds)[number]
    assert sum(pixels.any() for pixels in kinds.values()) >= 3


def check_walk(page, run: Run) -> None:
    """Order the images in each way, walk forth and back, and compare what is told of the pictures."""
    means = [image.mean for image in run.images]
    worst = sorted(range(12), key=lambda index: means[index])
    orders = {
        "best": worst[::-1],
        "name": sorted(range(12), key=lambda index: int(run.images[index].id.rpartition("_")[2])),
        "median": sorted(worst, key=lambda index: abs(worst.index(index) - 5.5)),
        "worst": worst,
    }
    for order, expected in orders.items():
        page.locator(f"#order input[value={order}]").evaluate("box => box.click()")
        shown = page.locator(".tile").evaluate_all("all => all.map(t => Number(t.dataset.index))")
        assert shown == expected, order
    first, second = (run.images[index].id for index in worst[:2])
    assert page.locator("#previous").is_disabled()
    page.locator("#next").click()
    assert page.locator("#image-name").text_content() == second
    page.locator("#previous").click()
    assert page.locator("#image-name").text_content() == first
    for layers in ("image,truth", "image,confidence", "truth,prediction"):
        page.locator(f"#layers input[value='{layers}']").evaluate("box => box.click()")
        for side, kind in zip(("left", "right"), layers.split(","), strict=True):
            page.wait_for_function(
                f"document.getElementById('{side}').getAttribute('aria-label') === '{kind} of {first}'"
            )
    assert page.locator(".tile").first.get_attribute("aria-label") == f"{first}, IoU {means[worst[0]]:.3f}"
    labels = page.locator("[role=img], [role=slider]").evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
    assert all(labels)


def check_pair(page, run: Run, truth: int, prediction: int) -> None:
    """Compare the images that are listed for a pair of classes with those that have it, most pixels first."""
    pixels = {}
    for index, image in enumerate(run.images):
        for t, p, n in image.confusion.tolist():
            if (t, p) == (truth, prediction):
                pixels[index] = n
    indices = page.locator(".tile").evaluate_all("all => all.map(t => Number(t.dataset.index))")
    assert set(indices) == set(pixels)
    assert [pixels[index] for index in indices] == sorted(pixels.values(), reverse=True)


def test_a_point_of_a_curve_tells_its_own_class(tmp_path: Path):
    names = [*HOSTILE, *(f"class {index}" for index in range(5))]
    run = log_classes(write_run(tmp_path / "run", names, samples(2, 12), 2))
    with opened(write(run).path) as page:
        number = next(i for i, title in enumerate(page.evaluate("data.panels.map(p => p.title)")) if "class" in title)
        chart = page.locator(f"[data-panel='{number}']")
        chart.scroll_into_view_if_needed()
        page.wait_for_selector(f"[data-panel='{number}'] .main-svg")
        traces = chart.evaluate("place => place._fullData.map(t => [t.hoverinfo, t.opacity])")
        assert len(traces) == 24, "each noisy curve lies behind its running mean"
        for index, (hover, opacity) in enumerate(traces):
            assert (hover == "skip") == (opacity < 1) == (index % 2 == 0)
            if hover == "skip":
                continue
            name = names[index // 2] if len(names[index // 2]) <= 40 else names[index // 2][:39] + "…"
            mean = np.mean([value for _, value in run.series[f"val/iou/{names[index // 2]}"][-3:]])
            chart.evaluate(
                "(place, point) => Plotly.Fx.hover(place, [point])", {"curveNumber": index, "pointNumber": 99}
            )
            page.wait_for_timeout(80)  # plotly takes no more than one in 50 ms
            assert chart.locator(".hoverlayer").text_content() == f"{name} {mean:.3f}"

        # by keyboard: zoom, and hide a line with the curve behind it
        chart.focus()
        spans = []
        for key in ("+", "ArrowRight", "-", "0"):
            page.keyboard.press(key)
            spans.append(chart.evaluate("place => place.layout.xaxis.range"))
        (low, high), moved, wide, whole = spans
        assert moved == [low + (high - low) / 4, high + (high - low) / 4]
        assert wide[1] - wide[0] == 2 * (high - low)
        assert whole[0] <= 1 < 100 <= whole[1] < 111
        page.locator(f"[data-panel='{number}'] + .lines summary").click()
        page.locator(f"[data-panel='{number}'] + .lines input").nth(3).uncheck()
        visible = chart.evaluate("place => place.data.map(t => t.visible !== 'legendonly')")
        assert visible == [index not in (6, 7) for index in range(24)]


@pytest.mark.slow
def test_a_canvas_shows_exactly_the_labels_that_were_recorded(tmp_path: Path):
    names = ["a", "b", "c"]
    run = write_run(tmp_path / "run", names, samples(3, 3), 3)
    with opened(write(run).path) as page:
        for index, image in enumerate(run.images):
            found = page.evaluate(f"pictures('p{index}').then(p => Array.from(p.prediction.labels))")
            assert found == image.arrays()["prediction"].ravel().tolist()
        page.evaluate("document.getElementById('opacity').value = 100")
        page.evaluate("document.getElementById('opacity').dispatchEvent(new Event('input'))")
        page.wait_for_timeout(300)
        index = int(page.locator(".tile[aria-current=true]").get_attribute("data-index"))
        script = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 < 3)"
        painted = np.array(page.locator("#right").evaluate(script)).reshape(48, 64, 3)
        table = np.array(run.class_colors)
        assert (painted == table[run.images[index].arrays()["prediction"]]).all()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [20, 150])
def test_a_thousand_images_stay_within_a_minute_and_thirty_megabytes(tmp_path: Path, classes: int):
    names = [f"class {index}" for index in range(classes)]
    run = write_run(tmp_path / "run", names, samples(1000, classes, size=(360, 480)), 1000)
    begin = time.monotonic()
    path = write(run).path
    assert time.monotonic() - begin < 60
    assert path.stat().st_size < 30e6
    with opened(path) as page:
        assert page.locator(".tile").count() < 200  # those in sight, and some more
        assert "1,000 images" in page.locator("#count").text_content()
        page.fill("#search", "image_77")
        assert page.locator(".tile").count() == 11


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_150_classes_tiny_images_and_grey_ones_are_shown(tmp_path: Path, width: int):
    names = [f"class {index} 🌳" for index in range(150)]
    odd = list(samples(2, 150))
    one = np.zeros((1, 1), np.uint8)
    odd.append(("one pixel", np.full((1, 1, 3), 200, np.uint8), one, one + 7))
    odd.append(
        ("nothing scored", np.zeros((9, 9, 1), np.uint8), np.full((9, 9), 255, np.uint8), np.zeros((9, 9), np.uint8))
    )
    grey = np.arange(40 * 700, dtype=np.uint16).reshape(40, 700, 1) * 2
    odd.append(("grey </script> 16 bit", grey, np.zeros((40, 700), np.uint8), np.ones((40, 700), np.uint8)))
    run = write_run(tmp_path / "run", names, odd, len(odd))
    (run.folder / "config.yaml").write_text(f"trainer: {{max_epochs: 3}}\ndata: {json.dumps(names)}\n")
    with opened(write(run).path, viewport={"width": width, "height": 800}, color_scheme="dark") as page:
        assert page.locator(".tile").count() == 5
        for index in range(5):
            page.locator(".tile").nth(index).click()
            page.wait_for_timeout(100)
            assert page.locator("#stage").is_visible()
        name = page.locator("#settings th", has_text="trainer.max_epochs").bounding_box()
        assert width == 360 or name["height"] < 40, "a long value leaves names their room"
        for place in ("#curves", "#confusion", "#settings"):
            page.locator(place).scroll_into_view_if_needed()
            page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_runs_compared_open_with_their_pictures(tmp_path: Path):
    for name, seed in (("one", 0), ("two", 1)):
        mixed = [
            (i, image, truth, other[3])
            for (i, image, truth, _), other in zip(samples(5, 7), samples(5, 7, seed=seed), strict=True)
        ]
        write_run(tmp_path / name / "version_0", HOSTILE, mixed, 5)
    out = tmp_path / "compare.html"
    compare([tmp_path / "one/version_0", tmp_path / "two/version_0"], out)
    with opened(out) as page:
        page.locator("canvas[data-layer=prediction]").first.scroll_into_view_if_needed()
        page.wait_for_selector("canvas[data-layer=prediction][width='64']")
        assert page.locator(".row").count() == 5
        page.locator(".sortable thead button").nth(1).click()


def test_a_background_that_does_not_count_has_images_all_the_same(tmp_path: Path):
    folder = write_run(tmp_path / "run", ["background", "leaf", "stem"], samples(4, 3), 4).folder
    path = folder / "records/test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"include_background": False}))
    with opened(write(Run(folder)).path) as page:
        page.locator("#class-table [data-class='0']").click()
        assert page.locator(".tile b").all_text_contents() == ["IoU n/a"] * 4
        page.wait_for_selector("#stage-note:has-text('Only background is coloured.')")
        assert page.locator("#viewer").is_visible()


def test_many_runs_leave_words_whole_on_a_phone(tmp_path: Path):
    folders = [write_run(tmp_path / name / "version_0", ["a", "b"], samples(2, 2), 2).folder for name in "abcdef"]
    compare(folders, tmp_path / "compare.html")
    with opened(tmp_path / "compare.html", viewport={"width": 390, "height": 800}) as page:
        assert page.locator("th", has_text="frequency-weighted IoU").bounding_box()["height"] < 70
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_a_page_without_javascript_tells_scores_and_shows_images(tmp_path: Path):
    run = write_run(tmp_path / "run", ["a", "b"], samples(9, 2), 9)
    with opened(write(run).path, java_script_enabled=False) as page:
        assert page.locator(".still img").count() == 18
        assert page.locator(".still img").first.is_visible()
        assert not page.locator("#viewer").is_visible()
        assert page.locator("#confusion-table").is_visible()
