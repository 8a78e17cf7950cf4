"""SegNet: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture", PAMI 2017.

Every decoder unpools with the indices that its encoder's max pooling found (figure 3), and mirrors its convolutions.
Poolings take odd sizes up, as in the reference code (Caffe), and unpooling restores the encoder's size exactly.
"""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from seg.models.attention import Attention, attention_layers
from seg.models.blocks import check_channels, check_dropout, check_images, conv_norm_relu, initialize
from seg.models.pooling import MaxPool, MaxUnpool, expect_zeros
from seg.models.vgg import CONVOLUTIONS, load_vgg16, stage_channels, vgg16_stages
from seg.models.weights import load_weights, weights_wanted

_DROPPED = 3
"""Encoders and decoders, the deepest, that dropout follows: as in Bayesian SegNet (Kendall et al., BMVC 2017)."""


class _EncoderDecoder(nn.Module):
    """What both networks do: encode and pool, unpool and decode, classify."""

    def __init__(self, num_classes: int, in_channels: int, norm: str, dropout: float) -> None:
        super().__init__()
        check_channels(num_classes, in_channels)
        check_dropout(dropout)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.pool = MaxPool()
        self.unpool = MaxUnpool()
        self.dropout = nn.Dropout(dropout)
        self.encoders: nn.ModuleList
        self.decoders: nn.ModuleList
        self.classifier: nn.Conv2d

    def forward(self, images: Tensor) -> Tensor:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W)."""
        check_images(images, self.in_channels)
        levels = len(self.encoders)
        x, pooled = images, []
        for level, encoder in enumerate(self.encoders):
            x = encoder(x)
            size = x.shape[-2:]
            x, indices = self.pool(x)
            pooled.append((indices, size))
            if levels - level <= _DROPPED:
                x = self.dropout(x)

        for level, decoder in enumerate(self.decoders):
            indices, size = pooled.pop()
            x = decoder(self.unpool(x, indices, size))
            if level < min(_DROPPED, levels - 1):
                x = self.dropout(x)
        logits: Tensor = self.classifier(x)
        return logits


class SegNet(_EncoderDecoder):
    """Segment images with VGG-16's convolutions, its poolings undone by their own indices, and their mirror image.

    29.44 M parameters at 11 classes. The classifier is the last 3×3 convolution of the mirror image, bare.

    Args:
        num_classes: 2 to 255.
        in_channels: channels of the image, 3 for RGB; a pretrained first layer is adapted.
        width: channels of the first encoder, with which all others grow (paper: 64).
        norm: batch (paper), group (16 channels a group; for batches of 1 or 2 images), instance or none.
        attention: se or cbam at the end of every encoder and decoder, or none (paper).
        dropout: probability of dropping a value after the three deepest encoders and decoders (Bayesian SegNet: 0.5).
        weights: imagenet for VGG-16 with batch norms as encoder, downloaded once; or a .pth file of this network, or
            of vgg16_bn or vgg16 in torchvision's naming; or null for random weights (He et al. 2015, as the paper).

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
        attention: Attention = "none",
        dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, norm, dropout)
        channels = stage_channels(width)  # 64, 128, 256, 512, 512
        self.encoders = vgg16_stages(in_channels, width, norm, attention=attention)
        self.stride = 2 ** len(channels)
        # Mirrored: a decoder ends with the channels that its encoder began with. The first encoder's first convolution
        # has its mirror image in the classifier.
        self.decoders = nn.ModuleList()
        for count, wide, narrow in zip(CONVOLUTIONS[:0:-1], channels[:0:-1], channels[-2::-1], strict=True):
            widths = [wide] * count + [narrow]
            self.decoders.append(_decoder(widths, norm, attention))
        self.decoders.append(_decoder([channels[0]] * 2, norm, attention))
        self.classifier = nn.Conv2d(channels[0], num_classes, kernel_size=3, padding=1)

        initialize(self)
        expect_zeros(self.decoders)
        load_vgg16(self, self.encoders, weights, norm)


class SegNetBasic(_EncoderDecoder):
    """Segment images with the paper's small network: four encoders and decoders, each one convolution of 7×7.

    1.42 M parameters at 11 classes. As in the paper no ReLU follows the decoders. The reference code's local response
    normalisation of the image is left to the task, which normalises by the data set's mean and deviation.

    Args:
        num_classes: 2 to 255.
        in_channels: channels of the image, 3 for RGB.
        width: channels of all encoders and decoders (paper: 64).
        norm: batch (paper), group (16 channels a group; for batches of 1 or 2 images), instance or none.
        attention: se or cbam at the end of every encoder and decoder, or none (paper).
        dropout: probability of dropping a value after the three deepest encoders and decoders.
        weights: a .pth file with a state dict of the same network, or null for random weights (He et al. 2015).

    Raises:
        ValueError: an argument outside the ranges above, or weights that do not fit.
        FileNotFoundError: no such file of weights.

    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        norm: Literal["batch", "group", "instance", "none"] = "batch",
        attention: Attention = "none",
        dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        super().__init__(num_classes, in_channels, norm, dropout)
        if width < 1:
            raise ValueError(f"width: {width}, but an encoder needs 1 channel or more (the paper has 64)")
        self.stride = 16
        self.encoders = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(before, width, norm, 7), *attention_layers(attention, width))
            for before in (in_channels, width, width, width)
        )
        self.decoders = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(width, width, norm, 7)[:-1], *attention_layers(attention, width))
            for _ in range(4)
        )
        self.classifier = nn.Conv2d(width, num_classes, kernel_size=1)

        initialize(self)
        expect_zeros(self.decoders)
        if weights is not None and weights_wanted():
            load_weights(self, weights)


def _decoder(widths: list[int], norm: str, attention: str) -> nn.Sequential:
    """Return convolutions from each width to the next."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += conv_norm_relu(before, after, norm)
    return nn.Sequential(*layers, *attention_layers(attention, widths[-1]))
