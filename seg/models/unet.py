"""U-Net: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015.

Figure 1 of the paper, with two changes that everyone has made since: convolutions are padded, so that logits have the
size of the image, and each is followed by a norm.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from seg.models.attention import Attention, attention_layers
from seg.models.blocks import (
    check_channels,
    check_dropout,
    check_images,
    conv_norm_relu,
    crop,
    initialize,
)
from seg.models.pooling import halve
from seg.models.weights import load_weights, weights_wanted


class UNet(nn.Module):
    """Segment images with U-Net: a contracting path, an expanding path, and skips between maps of equal size.

    Poolings take odd sizes up, and up-sampled maps are cropped to their skip, so that images of any height and width ≥
    32 pass without padding. 31.04 M parameters at 2 classes.

    Args:
        num_classes: 2 to 255.
        in_channels: channels of the image, 3 for RGB.
        width: channels of the first level; doubled at each further one (paper: 64).
        depth: number of 2×2 max poolings (paper: 4).
        norm: batch, group (16 channels a group; for batches of 1 or 2 images), instance or none (paper).
        upsampling: transposed, the paper's learnt 2×2 up-convolution, which can leave a checkerboard of period 2; or
            bilinear, smooth and with fewer parameters, a 1×1 convolution halving the channels before it.
        attention: se or cbam at the end of every level of both paths, or none.
        separable: split every 3×3 convolution into depthwise and 1×1 ones.
        dropout: probability of dropping a value after the two deepest levels of the contracting path.
        auxiliary: score the maps of every level of the expanding path but the last too, in training (deep
            supervision); the task adds their loss.
        weights: a .pth file with a state dict of the same network, or null for random weights (He et al. 2015).

    Raises:
        ValueError: an argument outside the ranges above; the message says what is accepted.
        FileNotFoundError: no such file of weights.

    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        depth: int = 4,
        norm: Literal["batch", "group", "instance", "none"] = "batch",
        upsampling: Literal["transposed", "bilinear"] = "transposed",
        attention: Attention = "none",
        separable: bool = False,
        dropout: float = 0.0,
        auxiliary: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_channels(num_classes, in_channels)
        if width < 1:
            raise ValueError(f"width: {width}, but the first level needs 1 channel or more (the paper has 64)")
        if not 1 <= depth <= 8:
            raise ValueError(f"depth: {depth}, but 1 to 8 poolings are possible (the paper has 4)")
        if upsampling not in ("transposed", "bilinear"):
            raise ValueError(f"upsampling: '{upsampling}' is neither transposed nor bilinear")
        check_dropout(dropout)

        self.num_classes = num_classes
        self.in_channels = in_channels
        self.stride = 2**depth

        channels = [width * 2**level for level in range(depth + 1)]  # 64, 128, 256, 512, 1024
        double = partial(_double, norm=norm, attention=attention, separable=separable)
        self.down = nn.ModuleList(
            double(wide_in, wide_out) for wide_in, wide_out in zip([in_channels, *channels], channels, strict=False)
        )
        self.up = nn.ModuleList(_upsample(wide, wide // 2, upsampling) for wide in reversed(channels[1:]))
        self.merge = nn.ModuleList(double(wide, wide // 2) for wide in reversed(channels[1:]))
        self.classifier = nn.Conv2d(width, num_classes, kernel_size=1)
        scored = channels[-2:0:-1] if auxiliary else []  # 512, 256, 128
        self.auxiliary = nn.ModuleList(nn.Conv2d(wide, num_classes, kernel_size=1) for wide in scored)
        self.dropout = nn.Dropout(dropout)
        self._dropped = {depth - 1, depth}

        initialize(self)
        if weights is not None and weights_wanted():
            load_weights(self, weights)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W).

        In training with auxiliary heads: the logits, and a list of those of the heads, deepest first, at their size.
        """
        check_images(images, self.in_channels)

        skips: list[Tensor] = []  # (64, H), (128, H/2), (256, H/4), (512, H/8)
        x = images
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else halve(x))
            if level in self._dropped:
                x = self.dropout(x)
            skips.append(x)

        x = skips.pop()  # (1024, H/16)
        levels: list[Tensor] = []
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = skips.pop()
            x = crop(up(x), *skip.shape[-2:])
            x = merge(torch.cat([skip, x], dim=1))  # (512 + 512, H/8) -> (512, H/8), and so on
            levels.append(x)

        logits: Tensor = self.classifier(x)
        if self.training and len(self.auxiliary):
            return logits, [head(level) for head, level in zip(self.auxiliary, levels, strict=False)]
        return logits


def _double(in_channels: int, out_channels: int, norm: str, attention: str, separable: bool) -> nn.Sequential:
    """Return the two 3×3 convolutions of one level."""
    return nn.Sequential(
        *conv_norm_relu(in_channels, out_channels, norm, separable=separable),
        *conv_norm_relu(out_channels, out_channels, norm, separable=separable),
        *attention_layers(attention, out_channels),
    )


def _upsample(in_channels: int, out_channels: int, upsampling: str) -> nn.Module:
    """Return what doubles the size and changes the channels."""
    if upsampling == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
    # Both are linear, so the cheap order gives the same result: fewer channels first, then four times the pixels.
    halved = nn.Conv2d(in_channels, out_channels, kernel_size=1)
    return nn.Sequential(halved, nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
