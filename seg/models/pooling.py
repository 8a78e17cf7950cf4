"""Max pooling that remembers where its maxima were, and unpooling that puts values back there.

Windows are 2×2 and may reach over the lower and right edge (ceil mode, as Caffe pools): odd sizes lose no pixel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg import apple


class MaxPool(nn.Module):
    """Halve maps by 2×2 max pooling and tell where in the map each maximum was."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maxima (B, C, ⌈H/2⌉, ⌈W/2⌉) of maps (B, C, H, W), and row · W + column of each, int64."""
        return F.max_pool2d(x, kernel_size=2, stride=2, ceil_mode=True, return_indices=True)  # type: ignore[return-value]


class MaxUnpool(nn.Module):
    """Put values where an encoder's maxima were, zeros elsewhere."""

    def forward(self, x: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
        """Return maps (B, C, *size) of values (B, C, h, w) and their places, as `MaxPool` tells them."""
        # nn.MaxUnpool2d refuses deterministic algorithms and has no ONNX counterpart with free sizes. With the channels
        # last nothing is copied in that layout, and whole rows of channels are written at once.
        batch, channels, (height, width) = x.shape[0], x.shape[1], size
        values, places = (t.permute(0, 2, 3, 1).flatten(1, 2) for t in (x, indices))  # (B, h · w, C)
        empty = x.new_zeros(batch, height * width, channels)
        maps = empty.scatter(1, places, values).view(batch, height, width, channels).permute(0, 3, 1, 2)
        return maps.contiguous() if apple.careful(x.device) else maps


@torch.no_grad()
def expect_zeros(decoders: nn.ModuleList) -> None:
    """Double the first weights of decoders: three of four places that they see are empty, a quarter of the variance."""
    for decoder in decoders:
        first = next(decoder.children())
        assert isinstance(first, nn.Conv2d)
        first.weight.mul_(2)


def halve(x: Tensor) -> Tensor:
    """Return the maxima (B, C, ⌈H/2⌉, ⌈W/2⌉) of the 2×2 windows of maps (B, C, H, W)."""
    return F.max_pool2d(x, kernel_size=2, stride=2, ceil_mode=True)
