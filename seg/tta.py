"""Test-time augmentation: what a network says of an image's mirror images and other sizes, averaged.

Averaged are probabilities, each brought back to where its pixels came from. The image is flipped and resized as it is,
before anything is padded: padding that is flipped along would move the picture. A tile is such an image, too:
where a network's strides do not divide the sides of the whole, they join other pixels in its mirror image than in those
of its tiles, and the probabilities differ a little.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from seg.models.blocks import upsample

FLIPS: dict[str, list[tuple[int, ...]]] = {
    "none": [()],
    "horizontal": [(), (-1,)],
    "flips": [(), (-1,), (-2,), (-2, -1)],
}
"""Name -> the axes that each view of the image is flipped along."""


class Averaged:
    """Average the probabilities of several views of an image.

    Args:
        network: from pixels (B, N, H, W) to logits (B, C, H, W).
        flips: "none", "horizontal", or "flips" for both axes: two views or four of each size.
        scales: factors on height and width, 1 being the image's own size.

    Raises:
        ValueError: flips of another name, or a scale that is no size.

    """

    def __init__(
        self, network: Callable[[Tensor], Tensor], flips: str = "none", scales: Sequence[float] = (1.0,)
    ) -> None:
        if flips not in FLIPS:
            raise ValueError(f"--tta {flips}: expected one of {', '.join(FLIPS)}")
        if not scales or not all(0.1 <= scale <= 10 for scale in scales):
            raise ValueError(
                f"--scales {' '.join(map(str, scales))}: factors of 0.1 to 10 are expected, such as 0.75 1"
            )
        self.network = network
        self.flips = FLIPS[flips]
        self.scales = [float(scale) for scale in scales]

    @property
    def views(self) -> int:
        """How many times the network is asked."""
        return len(self.flips) * len(self.scales)

    def __call__(self, images: Tensor) -> Tensor:
        """Return probabilities float32 (B, C, H, W) of pixels (B, N, H, W)."""
        size = images.shape[-2:]
        total: Tensor | None = None
        for scale in self.scales:
            scaled = resized(images, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
            for axes in self.flips:
                # brought back to size as logits, as evaluation does it, and to probabilities afterwards
                logits = self.network(scaled.flip(axes)).flip(axes).float()
                if logits.shape[-2:] != size:
                    logits = upsample(logits, (size[0], size[1]))
                probabilities = logits.softmax(1)
                total = probabilities if total is None else total.add_(probabilities)
        assert total is not None
        return total.div_(self.views)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return pixels (B, N, H, W) at another size, of the same type: averaged where they shrink."""
    if images.shape[-2:] == size:
        return images
    shrinks = size[0] <= images.shape[-2] and size[1] <= images.shape[-1]
    values = F.interpolate(images.float(), size, mode="bilinear", align_corners=False, antialias=shrinks)
    if images.dtype.is_floating_point:
        return values
    limits = torch.iinfo(images.dtype)
    return values.round_().clamp_(limits.min, limits.max).to(images.dtype)
