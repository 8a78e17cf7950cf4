from itertools import product

import numpy as np
import pytest

from seg.models.dilation import PATTERNS, largest_gap, pattern, unseen


def convolved(rates, kernel):
    """Count the paths from each pixel to the output by convolving, in numpy, one whole kernel after another."""
    paths = np.ones((1, 1))
    for rate in rates:
        margin = kernel // 2 * rate
        wider = np.zeros((paths.shape[0] + 2 * margin,) * 2)
        for row, column in product(range(kernel), repeat=2):
            top, left = row * rate, column * rate
            wider[top : top + paths.shape[0], left : left + paths.shape[1]] += paths
        paths = wider
    return paths


@pytest.mark.parametrize(
    ("rates", "kernel"),
    [
        ([1], 3),
        ([2, 2, 2], 3),
        ([1, 2, 5], 3),
        ([5, 1, 2], 3),
        ([1, 3, 5], 3),
        ([1, 2, 9], 3),
        ([4, 4], 5),
        ([3, 7], 1),
    ],
)
def test_unseen_pixels_are_those_without_a_path_to_the_output(rates, kernel):
    assert np.array_equal(unseen(rates, kernel).numpy(), convolved(rates, kernel) == 0)


def test_equal_rates_leave_a_grid_and_hybrid_ones_see_every_pixel():
    holes = unseen([2, 2, 2])
    assert holes.shape == (13, 13)
    assert not holes[::2, ::2].any()
    assert holes[1::2].all()
    assert holes[:, 1::2].all()
    for name in PATTERNS:
        assert not unseen(PATTERNS[name]).any(), name


def test_the_gap_is_that_of_the_papers_examples():
    # Wang et al. 2018, section 3.2: [1, 2, 5] gives M₂ = 2, [1, 2, 9] gives 5 and with it holes.
    assert largest_gap([1, 2, 5]) == 2
    assert largest_gap([1, 2, 9]) == 5
    assert unseen([1, 2, 9]).any()
    assert largest_gap([1, 3, 5]) == 3
    assert largest_gap([4]) == 4


def test_a_gap_within_the_kernel_after_a_first_rate_of_one_leaves_no_hole():
    for rates in product(range(1, 8), repeat=3):
        first = [1, *rates]
        if largest_gap(first) <= 3:
            assert not unseen(first).any(), first


def test_a_pattern_is_a_name_or_a_list_and_no_two_share_it():
    assert pattern("1-2-5") == [1, 2, 5]
    assert pattern((2, 4)) == [2, 4]
    pattern("1-2-5").append(7)
    assert pattern("1-2-5") == [1, 2, 5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("1-2-4", r"'1-2-4' is unknown; did you mean 1-2-5\? There are 1-2-5, 1-3-5"),
        ([], r"\[\], but it takes a list"),
        ([1, 0], r"\[1, 0\]"),
        ([1.5], r"\[1\.5\]"),
        ([True], r"\[True\]"),
        (3, "3, but it takes a list"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_with_what_can(wrong, message):
    with pytest.raises(ValueError, match=message):
        pattern(wrong)


def test_an_even_kernel_has_no_middle():
    with pytest.raises(ValueError, match="kernel: 2, but an odd side"):
        unseen([1], kernel=2)
