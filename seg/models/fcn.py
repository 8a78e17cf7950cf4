"""FCN: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.

Section 4 and figure 3 of the paper, without the reference code's padding of the image by 100 pixels: poolings take odd
sizes up, as Caffe's do, and whatever is up-sampled beyond the map that it is added to is cropped.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seg.models.blocks import check_channels, check_dropout, check_images, crop, initialize, pad_to_multiple
from seg.models.encoders import feature_encoder
from seg.models.pooling import halve
from seg.models.vgg import load_vgg16, stage_channels, vgg16_stages

_FINEST = {"32s": 32, "16s": 16, "8s": 8}
"""Stride of the finest maps that are scored."""


class FCN(nn.Module):
    """Segment images with a classifier made convolutional, its scores added to those of finer maps.

    134.49 M parameters as 8s on VGG-16 at 21 classes. Scores start at 0, so that training begins with equal
    probabilities for all classes, as in the paper.

    Args:
        num_classes: 2 to 255.
        variant: 32s scores the last maps alone; 16s adds the scores of pool4, 8s those of pool3 too.
        encoder: vgg16, vgg16_bn (with batch norms, for training from random weights), or any encoder of
            segmentation-models-pytorch, timm's as tu- and their name; these have no fc6 and fc7: their last maps are
            scored directly, as the paper does with GoogLeNet.
        in_channels: channels of the image, 3 for RGB; a pretrained first layer is adapted.
        width: channels of VGG-16's first stage, with which all others grow (paper: 64).
        norm: of VGG-16's stages: batch, group, instance or none; null for what the encoder's name says.
        upsampling: learnt, the paper's transposed convolutions that start as bilinear interpolation (all of them; the
            paper fixes the last, section 4.3), or fixed.
        dropout: probability of dropping a value after fc6 and fc7 (paper: 0.5).
        weights: imagenet for a pretrained encoder, downloaded once; or a .pth file of this network or of its encoder
            in the naming of torchvision (VGG-16) or the library; or null for random weights (He et al. 2015).

    Raises:
        ValueError: an argument outside the ranges above, or weights that do not fit.
        FileNotFoundError: weights is neither imagenet nor a file.
        ConnectionError: pretrained weights could not be downloaded; the message says what to do.

    """

    def __init__(
        self,
        num_classes: int,
        variant: Literal["8s", "16s", "32s"] = "8s",
        encoder: str = "vgg16",
        in_channels: int = 3,
        width: int = 64,
        norm: Literal["batch", "group", "instance", "none"] | None = None,
        upsampling: Literal["learnt", "fixed"] = "learnt",
        dropout: float = 0.5,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_channels(num_classes, in_channels)
        if variant not in _FINEST:
            raise ValueError(f"variant: '{variant}' is none of {', '.join(_FINEST)}")
        if upsampling not in ("learnt", "fixed"):
            raise ValueError(f"upsampling: '{upsampling}' is neither learnt nor fixed")
        check_dropout(dropout)

        self.num_classes = num_classes
        self.in_channels = in_channels
        self.stride = 32
        self.encoder: nn.Module
        pretrained = None
        if is_vgg := encoder in ("vgg16", "vgg16_bn"):
            norm = norm or ("batch" if encoder == "vgg16_bn" else "none")
            self.encoder = _VGG16(in_channels, width, norm)
            channels = stage_channels(width)[2:]
            fully, last = 64 * width, channels[-1]
            self.head = nn.Sequential(
                nn.Conv2d(last, fully, kernel_size=7, padding=3), nn.ReLU(inplace=True), nn.Dropout(dropout),  # fc6
                nn.Conv2d(fully, fully, kernel_size=1), nn.ReLU(inplace=True), nn.Dropout(dropout),  # fc7
            )  # fmt: skip
            channels[-1] = fully
            initialize(self)
        else:
            if norm is not None:
                raise ValueError(f"norm: '{norm}', but {encoder} has its own norms; leave it out, or take vgg16")
            features, pretrained = feature_encoder(encoder, in_channels, weights)
            self.encoder, channels = _Last(features), list(features.out_channels)[-3:]  # type: ignore[arg-type]
            self.head = nn.Sequential(nn.Dropout(dropout))

        steps = [32, 16, 8][: 1 + [32, 16, 8].index(_FINEST[variant])]
        self.scores = nn.ModuleList(nn.Conv2d(channels[-1 - i], num_classes, 1) for i in range(len(steps)))
        factors = [2] * (len(steps) - 1) + [steps[-1]]
        self.up = nn.ModuleList(upsampling_layer(num_classes, factor, upsampling) for factor in factors)
        for score in self.scores:
            nn.init.zeros_(score.weight)  # type: ignore[arg-type]
            nn.init.zeros_(score.bias)  # type: ignore[arg-type]

        if pretrained is not None:
            pretrained.load(self, self, self.encoder.network)  # type: ignore[arg-type]
        elif is_vgg:
            load_vgg16(self, [*self.encoder.stages, self.head], weights, str(norm))  # type: ignore[misc]

    def forward(self, images: Tensor) -> Tensor:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W)."""
        check_images(images, self.in_channels)
        maps = self.encoder(images)  # strides 8, 16, 32
        finer = [maps[1], maps[0]]

        x = self.scores[0](self.head(maps[2]))
        for up, score, skip in zip(self.up, self.scores[1:], finer, strict=False):
            x = crop(up(x), *skip.shape[-2:]) + score(skip)
        return crop(self.up[-1](x), *images.shape[-2:])


class _VGG16(nn.Module):
    """VGG-16's poolings of stride 8, 16 and 32."""

    def __init__(self, in_channels: int, width: int, norm: str) -> None:
        super().__init__()
        self.stages = vgg16_stages(in_channels, width, norm)

    def forward(self, x: Tensor) -> list[Tensor]:
        pooled = []
        for stage in self.stages:
            x = halve(stage(x))
            pooled.append(x)
        return pooled[2:]  # pool3 (256, H/8), pool4 (512, H/16), pool5 (512, H/32)


class _Last(nn.Module):
    """The maps of stride 8, 16 and 32 of an encoder of the library, whose sides must be multiples of 32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        maps: Sequence[Tensor] = self.network(pad_to_multiple(x, 32))
        return maps[-3:]


def upsampling_layer(channels: int, factor: int, upsampling: str) -> nn.Module:
    """Return what enlarges maps `factor` times: bilinear interpolation, or a transposed convolution that starts as it.

    The transposed convolution has a kernel of 2 · factor, connects all channels, and has no bias (as in the paper's
    reference code); it differs from interpolation where it reaches beyond the border, where it sees zeros.
    """
    if upsampling == "fixed":
        return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
    layer = nn.ConvTranspose2d(channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    distance = (torch.arange(2 * factor) + 0.5) / factor - 1
    triangle = 1 - distance.abs()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(channels), range(channels)] = triangle[:, None] * triangle
    return layer
