import numpy as np
import pytest
from PIL import Image

from seg import draw
from seg.convert.palette import VOID_COLOR, voc_colors

COLORS = [(10, 20, 30), (200, 100, 0), (0, 0, 250)]
NAMES = ["ground", "cat", "dog"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_each_label_takes_its_classs_colour_and_255_the_void_colour():
    mask = np.array([[0, 1, 2], [255, 2, 1]], dtype=np.uint8)
    picture = draw.colorize(mask, COLORS)
    for y, x in np.ndindex(mask.shape):
        assert tuple(picture[y, x]) == (VOID_COLOR if mask[y, x] == 255 else COLORS[mask[y, x]])


def test_labels_of_any_integer_type_and_of_all_255_classes_are_coloured():
    labels = np.arange(255, dtype=np.int64).reshape(15, 17)
    assert np.array_equal(draw.colorize(labels, voc_colors(255)).reshape(-1, 3), np.array(voc_colors(255)))
    assert tuple(draw.colorize(np.array([[7]]), COLORS)[0, 0]) == voc_colors(8)[7], "a label past the last class"


def test_the_overlay_blends_inside_draws_solid_borders_and_leaves_ignored_pixels_alone(rng):
    image = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    mask = np.zeros((12, 16), dtype=np.uint8)
    mask[3:9, 4:10] = 1
    mask[5:7, 12:15] = 255
    picture = draw.overlay(image, mask, COLORS, alpha=0.5)
    for y, x in np.ndindex(mask.shape):
        near = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        border = any(0 <= v < 12 and 0 <= u < 16 and mask[v, u] != mask[y, x] for v, u in near)
        color = np.array(COLORS[mask[y, x] % 255], dtype=float)
        if mask[y, x] == 255:
            assert np.array_equal(picture[y, x], image[y, x])
        elif border:
            assert np.array_equal(picture[y, x], color)
        else:
            assert np.abs(picture[y, x] - (image[y, x] + color) / 2).max() <= 1


def test_an_overlay_of_alpha_0_is_the_image_itself(rng):
    image = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    mask = rng.integers(0, 3, (5, 6), dtype=np.uint8)
    assert np.array_equal(draw.overlay(image, mask, COLORS, alpha=0.0), image)


def test_a_mask_of_other_size_is_refused_by_overlay_and_error_map():
    with pytest.raises(ValueError, match=r"\(4, 4\).*\(4, 5\)"):
        draw.overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), COLORS)
    with pytest.raises(ValueError, match=r"\(4, 4\).*\(4, 5\)"):
        draw.error_map(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))


@pytest.mark.parametrize("with_image", [False, True])
def test_the_error_map_is_red_exactly_where_a_scored_pixel_is_wrong(rng, with_image):
    truth = rng.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (20, 30))
    prediction = rng.integers(0, 3, (20, 30))
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8) if with_image else None
    picture = draw.error_map(truth, prediction, image=image).astype(int)
    red = picture[..., 0] > picture[..., 1:].max(axis=2) + 80
    assert np.array_equal(red, (truth != prediction) & (truth != 255))
    assert (picture[truth == 255] == draw.UNSCORED).all()
    agreed = picture[(truth == prediction)]
    assert (agreed == agreed[:, :1]).all(), "agreement is grey"
    assert agreed.max() < 128, "and dim"


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 1), (7, 9, 2), (7, 9, 3), (7, 9, 5)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, bool])
def test_images_of_any_channels_and_kind_become_rgb(rng, shape, kind):
    image = (rng.random(shape) * 200).astype(kind)
    picture = draw.rgb(image)
    assert picture.shape == (7, 9, 3)
    assert picture.dtype == np.uint8
    if kind is np.uint8 and shape == (7, 9):
        assert np.array_equal(picture, np.stack([image] * 3, axis=2))


def test_images_that_are_constant_or_hold_nan_are_drawn_without_a_warning():
    assert draw.rgb(np.full((3, 3), 7.0)).max() == 0
    assert draw.rgb(np.array([[np.nan, 0.0], [1.0, np.inf]]))[:, :, 0].tolist() == [[0, 0], [255, 255]]
    assert draw.rgb(np.full((2, 2), np.nan)).max() == 0


@pytest.mark.parametrize("size", [(1, 1), (96, 96), (33, 500), (700, 40), (1024, 2048)])
@pytest.mark.parametrize("with_truth", [False, True])
def test_an_example_of_any_size_has_readable_panels(size, with_truth):
    image = np.zeros((*size, 1), dtype=np.uint8)
    mask = np.ones(size, dtype=np.uint8)
    mask[: size[0] // 2] = 255
    picture = draw.example(
        image, mask if with_truth else None, np.zeros(size, np.int64), NAMES, COLORS, title="a title"
    )
    panels = 4 if with_truth else 3
    assert 230 <= max(picture.shape[:2]) <= 3000
    assert picture.shape[1] >= panels * 130
    assert picture.shape[0] <= 900


def test_small_images_are_enlarged_pixel_by_pixel():
    picture = draw.fit_size(np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3), smallest=9)
    assert picture.shape == (6, 9, 3)
    assert np.array_equal(picture[1::3, 1::3], np.arange(18, dtype=np.uint8).reshape(2, 3, 3))


def test_large_masks_keep_their_colours_when_scaled_down(rng):
    mask = rng.integers(0, 3, (900, 1300), dtype=np.uint8)
    picture = draw.fit_size(draw.colorize(mask, COLORS))
    assert max(picture.shape) == 640
    assert {tuple(color) for color in picture.reshape(-1, 3)} <= set(COLORS)


def test_the_example_holds_image_truth_and_prediction_to_the_pixel(rng):
    image = rng.integers(0, 256, (240, 250, 3), dtype=np.uint8)
    truth, prediction = rng.integers(0, 3, (2, 240, 250))
    picture = draw.example(image, truth, prediction, NAMES, COLORS)
    panels = [image, draw.colorize(truth, COLORS), draw.colorize(prediction, COLORS)]
    panels.append(draw.error_map(truth, prediction, image=image))
    top = next(y for y in range(80) if np.array_equal(picture[y, 12:262], image[0]))
    for index, panel in enumerate(panels):
        left = 12 + index * (250 + draw.GAP)
        assert np.array_equal(picture[top : top + 240, left : left + 250], panel)


def _shows(picture, color):
    return bool((picture == np.array(color, dtype=np.uint8)).all(axis=2).any())


def test_the_examples_legend_names_only_classes_in_sight():
    truth = np.zeros((300, 300), dtype=np.uint8)
    below = slice(300 + 40, None)  # under the panels
    without = draw.example(truth, truth, truth, NAMES, COLORS)[below]
    assert _shows(without, COLORS[0])
    assert not _shows(without, COLORS[1])
    assert not _shows(without, VOID_COLOR)
    truth[0, 0], truth[9, 9] = 255, 1
    within = draw.example(truth, truth, np.zeros_like(truth), NAMES, COLORS)[below]
    assert _shows(within, COLORS[1])
    assert _shows(within, VOID_COLOR)


@pytest.mark.parametrize("width", [1, 60, 400, 1200])
def test_a_legend_of_150_long_names_fits_its_width_and_shows_every_swatch(width):
    names = [f"class {index} with rather a long name" for index in range(150)]
    picture = draw.legend(names, voc_colors(150), width)
    assert picture.shape[1] == max(width, 39)
    packed = np.unique(picture.reshape(-1, 3).astype(int) @ [65536, 256, 1])
    assert np.isin(np.array(voc_colors(150)) @ [65536, 256, 1], packed).all()


@pytest.mark.parametrize("name", ["", "Straße", "дорога", "道路", "طريق", "a\nb", "🚗", "x" * 500])
def test_names_in_any_script_are_drawn_or_replaced_but_never_crash(name):
    assert draw.legend([name], [(1, 2, 3)], 200).shape[1] == 200
    assert draw.text_line(name, 100).shape[1] == 100


def test_a_legend_without_classes_is_an_empty_strip():
    assert draw.legend([], [], 100).shape == (1, 100, 3)


def test_a_grid_places_every_picture_in_its_cell():
    pictures = [np.full((2 + i, 3 + i, 3), 10 * i, dtype=np.uint8) for i in range(5)]
    picture = draw.grid(pictures, columns=2, gap=1)
    assert picture.shape == (3 + 5 + 6 + 2, 7 + 6 + 1, 3)
    assert (picture[0:2, 0:3] == 0).all()
    assert (picture[0:3, 8:12] == 10).all()
    assert (picture[4:9, 8:14] == 30).all()
    assert (picture[10:16, 0:7] == 40).all()
    assert tuple(picture[15, 13]) == draw.PAPER
    assert draw.grid(pictures[:1], columns=9).shape == (2, 3, 3)


def test_a_saved_picture_reads_back_and_leaves_no_temporary_file(tmp_path, rng):
    picture = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    draw.save(tmp_path / "new" / "a.png", picture)
    assert np.array_equal(np.array(Image.open(tmp_path / "new" / "a.png")), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_the_error_map_of_a_class_has_a_colour_for_each_kind_of_pixel():
    truth = np.array([[1, 1, 0, 0, 255, 255]], dtype=np.uint8)
    prediction = np.array([[1, 0, 1, 2, 1, 0]])
    colors = [draw.HIT, draw.MISS, draw.FALSE_ALARM]
    picture = draw.error_map(truth, prediction, class_index=1)[0]
    for pixel, color in zip(picture, colors, strict=False):
        assert np.abs(pixel.astype(int) - color).max() < 60, "mostly of its colour"
        assert np.argmin([np.abs(pixel.astype(int) - other).sum() for other in colors]) == colors.index(color)
    assert len(set(picture[3].tolist())) == 1, "what has nothing to do with the class is grey"
    assert (picture[4:] == draw.UNSCORED).all()


def test_what_is_drawn_of_a_known_mask_lies_on_its_pixels_exactly():
    """Overlay, error map and confidence of a disc: the pixels that change are the disc's own, none beside it."""
    y, x = np.mgrid[:61, :83]
    disc = (y - 30) ** 2 + (x - 47) ** 2 <= 19**2
    image = np.full((61, 83, 3), 90, dtype=np.uint8)
    mask = np.where(disc, 1, 255).astype(np.uint8)
    laid = draw.overlay(image, mask, COLORS)
    assert np.array_equal((laid != image).any(axis=2), disc)
    wrong = draw.error_map(disc.astype(np.uint8), np.zeros_like(mask), image=image)
    assert np.array_equal(wrong[..., 0] > 100, disc)
    sure = draw.confidence_map(disc.astype(float), scale=False)
    assert np.array_equal(sure[..., 0] > 200, disc)


def test_pictures_of_a_single_pixel_and_of_16_bit_grey():
    pixel = np.zeros((1, 1), dtype=np.uint8)
    grey = np.full((1, 1), 40_000, dtype=np.uint16)
    assert draw.overlay(grey, pixel, COLORS).shape == (1, 1, 3)
    assert draw.error_map(pixel, pixel, image=grey).shape == (1, 1, 3)
    assert draw.example(grey, pixel, pixel, NAMES, COLORS, confidence=np.ones((1, 1))).ndim == 3
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    assert np.array_equal(draw.rgb(ramp)[..., 0].ravel(), np.arange(256))


def test_an_examples_confidence_is_its_last_panel(rng):
    image, truth = rng.integers(0, 256, (240, 250, 3), dtype=np.uint8), np.zeros((240, 250), dtype=np.uint8)
    confidence = rng.random((240, 250))
    picture = draw.example(image, truth, truth, NAMES, COLORS, confidence=confidence)
    top = next(y for y in range(80) if np.array_equal(picture[y, 12:262], image[0]))
    left = 12 + 4 * (250 + draw.GAP)
    expected = draw.confidence_map(confidence, scale=False)
    assert np.array_equal(picture[top : top + 240, left : left + 250], expected)
