"""DeconvNet: Noh, Hong, Han, "Learning Deconvolution Network for Semantic Segmentation", ICCV 2015.

Table 2 of the supplement: VGG-16 with fc6 and fc7 as convolutions, and its mirror image, which unpools with the indices
of its poolings. The paper's input is 224×224, whose 7×7 maps fc6 turns into a single place; larger images have more
places, and maps that are smaller than 7×7 are padded with zeros for fc6 and cropped behind its mirror image.
"""

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from seg.models.blocks import check_channels, check_dropout, check_images, conv_norm_relu, crop, initialize, norm_layer
from seg.models.pooling import MaxPool, MaxUnpool, expect_zeros
from seg.models.vgg import load_vgg16, stage_channels, vgg16_stages

_FC6 = 7  # kernel of fc6, the size of VGG-16's last maps at 224×224


class DeconvNet(nn.Module):
    """Segment images with VGG-16 up to fc7 and its mirror image of unpoolings and deconvolutions.

    251.8 M parameters at 21 classes. Deconvolutions with a stride of 1 are convolutions with turned kernels, and are
    written as such; only fc6's mirror image, which enlarges its maps, is a transposed convolution.

    Args:
        num_classes: 2 to 255.
        in_channels: channels of the image, 3 for RGB; a pretrained first layer is adapted.
        width: channels of the first stage, with which all others grow (paper: 64, and 4096 for fc6 and fc7).
        norm: batch (paper), group (16 channels a group; for batches of 1 or 2 images), instance or none.
        dropout: probability of dropping a value after fc6 and fc7 (paper: 0, batch norm takes its place).
        weights: imagenet for VGG-16 with batch norms up to fc7, downloaded once; or a .pth file of this network, or of
            vgg16_bn or vgg16 in torchvision's naming; or null for random weights (He et al. 2015).

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
        norm: Literal["batch", "group", "instance", "none"] = "batch",
        dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_channels(num_classes, in_channels)
        check_dropout(dropout)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.stride = 32
        self.pool = MaxPool()
        self.unpool = MaxUnpool()

        c1, c2, c3, c4, c5 = stage_channels(width)  # 64, 128, 256, 512, 512
        fully, bias = 64 * width, norm == "none"
        self.encoders = vgg16_stages(in_channels, width, norm)
        self.fc6 = nn.Sequential(
            nn.Conv2d(c5, fully, _FC6, bias=bias), norm_layer(norm, fully), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )
        self.fc7 = nn.Sequential(*conv_norm_relu(fully, fully, norm, kernel_size=1), nn.Dropout(dropout))
        self.deconv_fc6 = nn.Sequential(
            nn.ConvTranspose2d(fully, c5, _FC6, bias=bias), norm_layer(norm, c5), nn.ReLU(inplace=True)
        )
        widths = ([c5, c5, c5, c4], [c4, c4, c4, c3], [c3, c3, c3, c2], [c2, c2, c1], [c1, c1, c1])
        self.decoders = nn.ModuleList(
            nn.Sequential(
                *(layer for before, after in pairwise(chain) for layer in conv_norm_relu(before, after, norm))
            )
            for chain in widths
        )
        self.classifier = nn.Conv2d(c1, num_classes, kernel_size=1)

        initialize(self)
        expect_zeros(self.decoders)
        load_vgg16(self, [*self.encoders, self.fc6, self.fc7], weights, norm)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W)."""
        check_images(images, self.in_channels)
        x, pooled = images, []
        for encoder in self.encoders:
            x = encoder(x)
            size = x.shape[-2:]
            x, indices = self.pool(x)
            pooled.append((indices, size))

        height, width = x.shape[-2:]
        x = self.fc7(self.fc6(F.pad(x, (0, _missing(width), 0, _missing(height)))))  # (4096, H/32 - 6)
        x = crop(self.deconv_fc6(x), height, width)  # (512, H/32)

        for decoder in self.decoders:
            indices, size = pooled.pop()
            x = decoder(self.unpool(x, indices, size))
        logits: Tensor = self.classifier(x)
        return logits


def _missing(length: int) -> int:
    """Return what a side of fc6's input lacks."""
    return max(length, _FC6) - length
