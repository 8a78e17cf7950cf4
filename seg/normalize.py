"""From the raw values of image files to what a network wants to see, on the device, as part of every checkpoint."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtract the mean and divide by the standard deviation of every channel, after cutting values off.

    NaN and infinite values, which float images have where there is no data, become 0.

    Args:
        mean: of every channel, in raw pixel values.
        std: of every channel, in raw pixel values.
        clip: (lowest, highest) raw value of every channel, beyond which values are cut off; None cuts nothing off.

    """

    mean: Tensor
    std: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], clip: Sequence[Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        lowest, highest = zip(*clip, strict=True) if clip else ([float("-inf")], [float("inf")])
        for name, values in {"mean": mean, "std": std, "lowest": lowest, "highest": highest}.items():
            self.register_buffer(name, torch.tensor(values).float().view(1, -1, 1, 1), persistent=False)
        self.clips = bool(clip)

    def forward(self, images: Tensor) -> Tensor:
        """Return float images (B, N, H, W) of raw ones of any type."""
        if images.is_floating_point():
            images = torch.where(images.isfinite(), images, self.mean)
        if images.dtype == torch.uint16:  # which few kernels take
            images = images.float()
        if self.clips:
            images = images.clamp(self.lowest, self.highest)
        return (images - self.mean) / self.std
