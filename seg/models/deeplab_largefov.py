"""DeepLab-LargeFOV: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs".

ICLR 2015, section 3 and the variant of section 5 and table 2 that has 20.5 M parameters: the hole algorithm on VGG-16,
fc6 of 3×3 and rate 12, 1024 channels. Without the CRF, which is not part of the network.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from seg.models.blocks import check_channels, check_dropout, check_images, conv_norm_relu, initialize, upsample_on_grid
from seg.models.vgg import Layer, load_vgg16, stage_channels, vgg16_stages

_STRIDES = (2, 2, 2, 1, 1)
"""Of the 3×3 poolings behind the five stages."""


class DeepLabLargeFOV(nn.Module):
    """Segment images with VGG-16 whose last two poolings keep the size and whose later convolutions have holes.

    20.50 M parameters at 11 classes; logits of stride 8 are interpolated.

    Args:
        num_classes: 2 to 255.
        in_channels: channels of the image, 3 for RGB; a pretrained first layer is adapted.
        width: channels of the first stage, with which all others grow (paper: 64, and 1024 for fc6 and fc7).
        rate: of fc6, which together with the kernel of 3×3 makes its field of view (paper: 12).
        norm: none (paper), batch (for training from random weights), group (16 channels a group) or instance.
        dropout: probability of dropping a value after fc6 and fc7 (paper: 0.5).
        weights: imagenet for VGG-16, fc6 and fc7 thinned out as in the paper, downloaded once; or a .pth file of this
            network, or of vgg16 or vgg16_bn in torchvision's naming; or null for random weights (He et al. 2015).

    Raises:
        ValueError: an argument outside the ranges above, or weights that do not fit.
        FileNotFoundError: weights is neither imagenet nor a file.
        ConnectionError: pretrained weights could not be downloaded; the message says what to do.

    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        rate: int = 12,
        norm: Literal["batch", "group", "instance", "none"] = "none",
        dropout: float = 0.5,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_channels(num_classes, in_channels)
        if rate < 1:
            raise ValueError(f"rate: {rate}, but taps lie 1 place apart or more (the paper has 12)")
        check_dropout(dropout)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.stride = 8

        last, fully = stage_channels(width)[-1], 16 * width
        self.stages = vgg16_stages(in_channels, width, norm, last_dilation=2)
        self.fc6 = nn.Sequential(*conv_norm_relu(last, fully, norm, dilation=rate), nn.Dropout(dropout))
        self.fc7 = nn.Sequential(*conv_norm_relu(fully, fully, norm, kernel_size=1), nn.Dropout(dropout))
        self.classifier = nn.Conv2d(fully, num_classes, kernel_size=1)  # fc8

        initialize(self)
        load_vgg16(self, [*self.stages, self.fc6, self.fc7], weights, norm, _thinned)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W)."""
        check_images(images, self.in_channels)
        x = images
        for stage, stride in zip(self.stages, _STRIDES, strict=True):
            x = F.max_pool2d(stage(x), kernel_size=3, stride=stride, padding=1)
        x = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)  # pool5a of the reference code
        x = self.classifier(self.fc7(self.fc6(x)))  # (C, H/8)
        return upsample_on_grid(x, self.stride, (images.shape[2], images.shape[3]))


def _thinned(layer: Layer) -> Layer:
    """Return fc6 with every third tap (rate 12 instead of 4), and fc6 and fc7 with every fourth channel."""
    if layer.name == "classifier.0":
        return layer._replace(weight=layer.weight[::4, :, ::3, ::3], bias=layer.bias[::4])
    if layer.name == "classifier.3":
        return layer._replace(weight=layer.weight[::4, ::4], bias=layer.bias[::4])
    return layer
