import numpy as np
import pytest

from benchmarks.palette import choose, closest, seen
from seg import draw
from seg.colors import safe_colors
from seg.convert.palette import VOID_COLOR, voc_colors
from seg.data.classes import Classes


def test_a_classs_colour_does_not_depend_on_the_number_of_classes():
    every = draw.palette(255)
    assert len(set(every)) == 255
    for number in (0, 1, 2, 12, 150):
        assert draw.palette(number) == every[:number]


@pytest.mark.parametrize(("number", "distance"), [(8, 29), (12, 24), (20, 17)])
def test_the_first_colours_stay_apart_for_colour_blind_eyes(number, distance):
    assert min(closest(safe_colors(number))) > distance > 3 * min(closest(voc_colors(number)))


def test_simulated_deuteranopia_takes_red_for_green_and_leaves_grey_alone():
    # an independent check of the simulation: hues along the confusion line meet, brightness and blue stay
    _, protan, deutan = seen([(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (130, 130, 130)])
    for view in (protan, deutan):
        assert abs(view[0, 1] - view[1, 1]) < 25, "red and green differ by more than 160 along a* otherwise"
        assert np.abs(view[3, 1:]).max() < 2
    assert abs(np.subtract(*seen([(255, 0, 0), (0, 255, 0)])[0, :, 1])) > 160


def test_no_colour_is_the_void_colour_and_the_table_is_the_one_that_was_chosen():
    assert VOID_COLOR not in safe_colors(255)
    assert choose(40) == safe_colors(40)


def test_classes_without_colours_have_these():
    assert Classes(["a", "b", "c"]).colors == tuple(safe_colors(3))
