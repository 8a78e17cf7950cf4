"""Patterns of dilation rates, and which pixels they never see.

Equal rates above 1, one convolution after another, see a grid with holes ("gridding"): Wang et al., "Understanding
Convolution for Semantic Segmentation", 2018, section 3.2, whose hybrid dilated convolution varies the rates instead.
"""

from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor

PATTERNS: dict[str, list[int]] = {
    "1-2-5": [1, 2, 5],  # Wang et al. 2018, section 3.2
    "1-3-5": [1, 3, 5],  # a field of 19 instead of 17 with the same three kernels, and no hole either
}
"""Name -> rates of consecutive 3×3 convolutions, to be repeated over the layers that are dilated."""


def pattern(name: str | Sequence[int]) -> list[int]:
    """Return the rates of a pattern.

    Args:
        name: one of `PATTERNS`, or the rates themselves.

    Raises:
        ValueError: an unknown name, an empty list, or a rate that is not an integer of 1 or more.

    """
    if isinstance(name, str):
        if name not in PATTERNS:
            close = get_close_matches(name, PATTERNS, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ValueError(
                f"dilation pattern: '{name}' is unknown{hint} There are {', '.join(PATTERNS)}; "
                "or give the rates as a list, such as [1, 2, 5]"
            )
        return list(PATTERNS[name])
    rates = [*name] if isinstance(name, Sequence) else []
    if not rates or any(isinstance(rate, bool) or not isinstance(rate, int) or rate < 1 for rate in rates):
        raise ValueError(
            f"dilation pattern: {name!r}, but it takes a list of one or more integers from 1 up, such as [1, 2, 5], "
            f"or one of {', '.join(PATTERNS)}"
        )
    return rates


def unseen(rates: Sequence[int], kernel: int = 3) -> Tensor:
    """Return which pixels of its field the output of consecutive dilated convolutions never sees.

    Args:
        rates: dilation rate of each convolution, first to last; their order does not matter.
        kernel: side of the square kernels, odd.

    Returns:
        bool (F, F), F = 1 + (kernel - 1) · sum of rates, the output pixel at its middle; `.float().mean()` is the share
        of the field that is never seen.

    Raises:
        ValueError: rates as refused by `pattern`, or an even kernel.

    """
    rates = pattern(rates)
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(
            f"kernel: {kernel}, but an odd side of 1 or more is needed for an output pixel to have a middle"
        )
    # square kernels reach the same offsets along both axes, independently
    offsets = {0}
    for rate in rates:
        taps = [rate * tap for tap in range(-(kernel // 2), kernel // 2 + 1)]
        offsets = {offset + tap for offset in offsets for tap in taps}
    reach = (kernel // 2) * sum(rates)
    seen = torch.tensor([offset in offsets for offset in range(-reach, reach + 1)])
    return ~(seen[:, None] & seen[None, :])


def largest_gap(rates: Sequence[int]) -> int:
    """Return M₂ of Wang et al. 2018, equation 2: the gap that the first convolution has to close.

    M of the last layer is its rate; going back, Mᵢ = max(Mᵢ₊₁ − 2 rᵢ, 2 rᵢ − Mᵢ₊₁, rᵢ). Their condition for a field
    without holes is M₂ ≤ kernel with a first rate of 1; rates that share a factor leave holes whatever M₂ is, so that
    `unseen` is the judge. M₂ of a single convolution is its rate.

    Raises:
        ValueError: rates as refused by `pattern`.

    """
    rates = pattern(rates)
    gap = rates[-1]
    for rate in reversed(rates[1:-1]):
        gap = max(gap - 2 * rate, 2 * rate - gap, rate)
    return gap
