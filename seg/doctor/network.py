"""What the data set has to suit: the stride and the receptive field of the network that a config trains."""

from contextlib import suppress
from importlib import import_module

from torch import nn

from seg.doctor.measure import Scale

USUAL_STRIDE = 16
"""Assumed where no network is known."""


def scale_of(net: nn.Module | None, resize: tuple[int, int] | None) -> Scale:
    """Return what makes an object tiny or large for a network."""
    stride = getattr(net, "stride", None)
    return Scale(stride if isinstance(stride, int) else USUAL_STRIDE, receptive_field(net), resize)


def receptive_field(net: nn.Module | None) -> int | None:
    """Return the shorter side of a network's theoretical receptive field in pixels; None where it is not known."""
    if net is None:
        return None
    with suppress(ModuleNotFoundError):
        field = import_module("seg.models.receptive_field").theoretical_field(net)
        return min(field) if field is not None else None
    return None
