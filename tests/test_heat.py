import numpy as np
import pytest

from seg import draw
from seg.heat import UNKNOWN, heat


def test_a_map_keeps_its_pixels_and_bright_means_high():
    values = np.array([[0.0, 0.5], [1.0, np.nan], [-3.0, 9.0]])
    picture = heat(values)
    light = picture.astype(float) @ [0.299, 0.587, 0.114]
    assert light[0, 0] < light[0, 1] < light[1, 0]
    assert tuple(picture[1, 1]) == UNKNOWN
    assert np.array_equal(picture[2], picture[[0, 1], [0, 0]]), "beyond the ends: the colour of the end"


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (300, 3)])
def test_a_confidence_map_is_the_map_itself_with_a_scale_at_its_right(size):
    confidence = np.random.default_rng(0).random(size)
    picture = draw.confidence_map(confidence)
    assert np.array_equal(picture[: size[0], : size[1]], heat(confidence))
    assert picture.shape[1] > size[1] + 20
    assert np.array_equal(draw.confidence_map(confidence, scale=False), heat(confidence))


def test_the_entropy_of_a_uniform_pixel_is_the_brightest_and_of_a_certain_one_the_darkest():
    probabilities = np.zeros((4, 1, 3))
    probabilities[:, 0, 0] = 0.25
    probabilities[2, 0, 1] = 1.0
    probabilities[:2, 0, 2] = 0.5
    picture = draw.entropy_map(probabilities, scale=False)
    assert np.array_equal(picture, heat(np.array([[1.0, 0.0, 0.5]]))), "one bit of two is half"
    with pytest.raises(ValueError, match="classes, H, W"):
        draw.entropy_map(np.zeros((3, 3)))
