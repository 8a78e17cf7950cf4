"""Attention blocks that weigh a map's channels, or its channels and places; they change neither size nor channels."""

from typing import Literal

import torch
from torch import Tensor, nn

Attention = Literal["se", "cbam", "none"]
_REDUCTION = 16  # table 10 of the SE paper; section 5.1 of the CBAM paper


class SqueezeExcitation(nn.Module):
    """Scale every channel by what two layers make of all channels' means: Hu, Shen, Sun, CVPR 2018.

    Args:
        channels: of the maps.

    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = _bottleneck(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled maps (B, C, H, W)."""
        gate: Tensor = self.gate(x.mean((2, 3), keepdim=True))
        return x * gate.sigmoid()


class CBAM(nn.Module):
    """Scale channels by their means and maxima, then places by those over the channels: Woo et al., ECCV 2018.

    Args:
        channels: of the maps.

    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = _bottleneck(channels)  # one for means and maxima, equation 2
        self.place = nn.Conv2d(2, 1, kernel_size=7, padding=3)  # equation 3

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled maps (B, C, H, W)."""
        channels = self.gate(x.mean((2, 3), keepdim=True)) + self.gate(x.amax((2, 3), keepdim=True))
        x = x * channels.sigmoid()
        places = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        gate: Tensor = self.place(places)
        return x * gate.sigmoid()


def attention_layers(attention: str, channels: int) -> list[nn.Module]:
    """Return the block called `attention` for `channels` channels as a list: se, cbam, or nothing for none.

    Raises:
        ValueError: another name.

    """
    kinds: dict[str, list[type[nn.Module]]] = {"se": [SqueezeExcitation], "cbam": [CBAM], "none": []}
    if attention not in kinds:
        raise ValueError(f"attention: '{attention}' is none of {', '.join(kinds)}")
    return [kind(channels) for kind in kinds[attention]]


def _bottleneck(channels: int) -> nn.Sequential:
    narrow = max(channels // _REDUCTION, 4)
    return nn.Sequential(nn.Conv2d(channels, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, channels, 1))
