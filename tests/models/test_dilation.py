"""Patterns of dilation rates: what they never see, against convolutions themselves."""

import pytest
import torch
from torch.nn import functional as F

from seg.models.dilation import PATTERNS, largest_gap, pattern, unseen


def never_touched(rates: list[int], kernel: int) -> torch.Tensor:
    """Return which pixels have no gradient from the middle of convolutions of ones, over their field."""
    reach = (kernel // 2) * sum(rates)
    image = torch.zeros(1, 1, 2 * reach + 1, 2 * reach + 1, requires_grad=True)
    x = image
    for rate in rates:
        x = F.conv2d(x, torch.ones(1, 1, kernel, kernel), dilation=rate)
    assert x.shape == (1, 1, 1, 1)
    x.backward()
    return image.grad[0, 0] == 0


@pytest.mark.parametrize(
    ("rates", "kernel", "share"),
    [
        ([1, 2, 5], 3, 0.0),
        ([1, 3, 5], 3, 0.0),
        ([1, 2, 4], 3, 0.0),
        ([2, 2, 2], 3, 1 - (7 / 13) ** 2),  # every second row and column: gridding
        ([2, 4, 8], 3, 1 - (15 / 29) ** 2),  # a common factor
        ([1, 2, 9], 3, 1 - (21 / 25) ** 2),  # the paper's own counterexample: M2 = 5 > 3
        ([3], 5, 1 - (5 / 13) ** 2),
    ],
)
def test_pixels_never_seen_are_those_without_a_gradient(rates, kernel, share):
    holes = unseen(rates, kernel)
    assert torch.equal(holes, never_touched(rates, kernel))
    assert float(holes.float().mean()) == pytest.approx(share)


def test_every_named_pattern_leaves_no_hole():
    assert pattern("multi_grid") == [1, 2, 4]
    assert PATTERNS.keys() == {"none", "1-2-5", "1-3-5", "multi_grid"}
    for name, rates in PATTERNS.items():
        assert not unseen(pattern(name)).any()
        assert name.replace("-", "").isdigit() is (name == "-".join(map(str, rates)))


def test_the_largest_gap_is_that_of_the_paper():
    # Section 3.2: with kernels of 3, r = [1, 2, 5] has M2 = 2 and passes; r = [1, 2, 9] has M2 = 5 and fails.
    assert [largest_gap(rates) for rates in ([1, 2, 5], [1, 2, 9], [1, 3, 5], [4])] == [2, 5, 3, 4]


@pytest.mark.parametrize("rates", ["1-2-3", [], [0, 1], [1.5], [True], 3, None])
def test_what_is_no_pattern_is_refused(rates):
    with pytest.raises(ValueError, match=r"dilation pattern: .*1-2-5"):
        pattern(rates)


def test_a_kernel_without_a_middle_is_refused():
    with pytest.raises(ValueError, match="kernel: 2"):
        unseen([1, 2], kernel=2)
