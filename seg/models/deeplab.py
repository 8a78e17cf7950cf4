"""DeepLab v3 and v3+, on dilated ResNets.

Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, and "Encoder-Decoder with Atrous
Separable Convolution for Semantic Image Segmentation", ECCV 2018.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from seg.models.blocks import (
    check_channels,
    check_dropout,
    check_images,
    conv_norm_relu,
    initialize,
    upsample,
    upsample_on_grid,
)
from seg.models.dilation import pattern
from seg.models.resnet import ResNet
from seg.models.weights import adapt_channels, fill, load_own_or, weights_wanted

Output = Tensor | tuple[Tensor, list[Tensor]]


class ASPP(nn.Module):
    """See maps through convolutions of several rates and through their mean, side by side (figure 5 of v3).

    Args:
        in_channels: of the maps.
        channels: of every branch and of the result.
        rates: of the 3×3 convolutions; a 1×1 convolution and the mean over the image stand beside them.
        norm: batch, group, instance or none.
        dropout: probability of dropping a value of the result.
        separable: split the 3×3 convolutions into depthwise and 1×1 ones (v3+).

    """

    def __init__(
        self, in_channels: int, channels: int, rates: Sequence[int], norm: str, dropout: float, separable: bool
    ) -> None:
        super().__init__()
        branches = [conv_norm_relu(in_channels, channels, norm, kernel_size=1)]
        branches += [conv_norm_relu(in_channels, channels, norm, dilation=rate, separable=separable) for rate in rates]
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)
        self.image = nn.Sequential(*conv_norm_relu(in_channels, channels, norm, kernel_size=1))
        together = channels * (len(rates) + 2)
        self.project = nn.Sequential(*conv_norm_relu(together, channels, norm, kernel_size=1), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B, channels, h, w) of maps (B, in_channels, h, w)."""
        branches = [branch(x) for branch in self.branches]
        mean = self.image(x.mean((2, 3), keepdim=True)).expand_as(branches[0])
        # An expanded tensor has no layout; with one among them, cat would leave the channels-last one of the others.
        mean = mean.contiguous(memory_format=torch.channels_last)
        result: Tensor = self.project(torch.cat([*branches, mean], dim=1))
        return result


class _DeepLab(nn.Module):
    """What both versions share: a dilated ResNet, ASPP on its last maps, an auxiliary head on those before."""

    def __init__(
        self,
        num_classes: int,
        encoder: str,
        in_channels: int,
        output_stride: int,
        rates: Sequence[int] | None,
        multi_grid: Sequence[int] | None,
        dilation: str | Sequence[int] | None,
        channels: int,
        norm: str,
        dropout: float,
        separable: bool,
        auxiliary: bool,
    ) -> None:
        super().__init__()
        check_channels(num_classes, in_channels)
        if channels < 1:
            raise ValueError(f"channels: {channels}, but every branch of ASPP needs 1 channel or more (paper: 256)")
        check_dropout(dropout)
        if rates is not None and (not rates or min(rates) < 1):
            raise ValueError(f"rates: {list(rates)}, but rates of 1 or more are expected, such as [6, 12, 18]")
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.encoder_name = encoder
        rates_of_blocks = None if dilation is None else pattern(dilation)
        self.encoder = ResNet(encoder, in_channels, output_stride, multi_grid, rates_of_blocks, norm)
        self.stride = output_stride
        # Section 3.3 of v3: (6, 12, 18) at output stride 16, doubled at 8.
        self.rates = [16 * rate // output_stride for rate in (6, 12, 18)] if rates is None else list(rates)
        self.aspp = ASPP(self.encoder.channels[-1], channels, self.rates, norm, dropout, separable)
        self.auxiliary: nn.Sequential | None = None
        if auxiliary:
            wide = self.encoder.channels[-2]
            self.auxiliary = nn.Sequential(
                *conv_norm_relu(wide, wide // 4, norm), nn.Dropout(0.1), nn.Conv2d(wide // 4, num_classes, 1)
            )

    def _start(self, weights: str | None) -> None:
        """Draw the weights of all that is not the encoder, then load those of a file."""
        for child in self.children():
            if child is not self.encoder:
                initialize(child)
        if weights is None or not weights_wanted():
            return
        if (state := load_own_or(self, weights, self.encoder_name)) is None:
            return
        if self.encoder.norm != "batch":
            raise ValueError(
                f"weights: {weights} has batch norms, which norm: {self.encoder.norm} cannot take; set norm: batch, or "
                "null for random weights"
            )
        # The classifier of ImageNet has no place here; every other tensor must.
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
        if (first := state.get("conv1.weight")) is not None:
            state["conv1.weight"] = adapt_channels(first, self.in_channels)
        fill(self.encoder, state, f"weights: {weights}", f"the encoder {self.encoder_name}")

    def decode(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Return logits (B, num_classes, *size) of the encoder's maps."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Output:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W).

        In training and with an auxiliary head: those, and a list of the auxiliary ones.
        """
        check_images(images, self.in_channels)
        size = (images.shape[2], images.shape[3])
        maps = self.encoder(images)
        logits = self.decode(maps, size)
        if self.auxiliary is None or not self.training:
            return logits
        return logits, [upsample(self.auxiliary(maps[-2]), size)]


class DeepLabV3(_DeepLab):
    """Segment images with a dilated ResNet, atrous spatial pyramid pooling, and bilinear interpolation.

    39.64 M parameters with resnet50 at 11 classes, 58.63 M with resnet101. Equal to torchvision's deeplabv3_resnet50
    at output stride 8, dropout included.

    Args:
        num_classes: 2 to 255.
        encoder: resnet18, resnet34, resnet50, resnet101 or resnet152.
        in_channels: channels of the image, 3 for RGB; a pretrained first layer is adapted.
        output_stride: of the last maps, 8, 16 or 32; stages that would go beyond are dilated instead.
        rates: of ASPP's 3×3 convolutions; [6, 12, 18] at output stride 16, [12, 24, 36] at 8 where not given.
        multi_grid: factors on the rate of the last stage's blocks, such as [1, 2, 4] (table 3); null for none.
        dilation: rates of the blocks of all dilated stages in turn, as a list or the name of a pattern: 1-2-5 or 1-3-5
            (hybrid dilated convolution, see seg.models.dilation), which leave no pixel unseen; null for one rate a
            stage.
        channels: of ASPP's branches and of the head (paper: 256).
        norm: batch (paper), group (16 channels a group; for batches of 1 or 2 images), instance or none.
        dropout: probability of dropping a value of ASPP's result.
        auxiliary: score the maps before the last stage too, in training (deep supervision); the task adds their loss.
        weights: imagenet for the encoder, downloaded once; or a .pth file of this network, or of the encoder in
            torchvision's naming; or null for random weights (He et al. 2015).

    Raises:
        ValueError: an argument outside the ranges above, or weights that do not fit.
        FileNotFoundError: weights is neither imagenet nor a file.
        ConnectionError: pretrained weights could not be downloaded; the message says what to do.

    """

    def __init__(
        self,
        num_classes: int,
        encoder: str = "resnet50",
        in_channels: int = 3,
        output_stride: int = 16,
        rates: list[int] | None = None,
        multi_grid: list[int] | None = None,
        dilation: str | list[int] | None = None,
        channels: int = 256,
        norm: Literal["batch", "group", "instance", "none"] = "batch",
        dropout: float = 0.5,
        auxiliary: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__(
            num_classes, encoder, in_channels, output_stride, rates, multi_grid, dilation, channels, norm, dropout,
            separable=False, auxiliary=auxiliary,
        )  # fmt: skip
        self.head = nn.Sequential(*conv_norm_relu(channels, channels, norm), nn.Conv2d(channels, num_classes, 1))
        self._start(weights)

    def decode(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Return logits (B, num_classes, *size) of the last maps, stretched edge to edge as torchvision does."""
        return upsample(self.head(self.aspp(maps[-1])), size)


class DeepLabV3Plus(_DeepLab):
    """Segment images with DeepLab v3's encoder and a decoder that adds maps of stride 4.

    40.35 M parameters with resnet50 at 11 classes; 39.76 M with one decoder convolution, as popular ports have it.

    Args:
        num_classes: 2 to 255.
        encoder: resnet18, resnet34, resnet50, resnet101 or resnet152.
        in_channels: channels of the image, 3 for RGB; a pretrained first layer is adapted.
        output_stride: of the last maps, 8, 16 or 32; stages that would go beyond are dilated instead.
        rates: of ASPP's 3×3 convolutions; [6, 12, 18] at output stride 16, [12, 24, 36] at 8 where not given.
        multi_grid: factors on the rate of the last stage's blocks, such as [1, 2, 4]; null for none.
        dilation: rates of the blocks of all dilated stages in turn, as a list or the name of a pattern: 1-2-5 or 1-3-5
            (hybrid dilated convolution, see seg.models.dilation), which leave no pixel unseen; null for one rate a
            stage.
        channels: of ASPP's branches and of the decoder (paper: 256).
        low_level_channels: to which the maps of stride 4 are reduced (table 1: 48).
        decoder_convolutions: 3×3 convolutions of the decoder (table 2: 2).
        separable: split the 3×3 convolutions of ASPP and decoder into depthwise and 1×1 ones (section 3.1).
        norm: batch (paper), group (16 channels a group; for batches of 1 or 2 images), instance or none.
        dropout: probability of dropping a value of ASPP's result.
        auxiliary: score the maps before the last stage too, in training (deep supervision); the task adds their loss.
        weights: imagenet for the encoder, downloaded once; or a .pth file of this network, or of the encoder in
            torchvision's naming; or null for random weights (He et al. 2015).

    Raises:
        ValueError: an argument outside the ranges above, or weights that do not fit.
        FileNotFoundError: weights is neither imagenet nor a file.
        ConnectionError: pretrained weights could not be downloaded; the message says what to do.

    """

    def __init__(
        self,
        num_classes: int,
        encoder: str = "resnet50",
        in_channels: int = 3,
        output_stride: int = 16,
        rates: list[int] | None = None,
        multi_grid: list[int] | None = None,
        dilation: str | list[int] | None = None,
        channels: int = 256,
        low_level_channels: int = 48,
        decoder_convolutions: int = 2,
        separable: bool = False,
        norm: Literal["batch", "group", "instance", "none"] = "batch",
        dropout: float = 0.1,
        auxiliary: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__(
            num_classes, encoder, in_channels, output_stride, rates, multi_grid, dilation, channels, norm, dropout,
            separable=separable, auxiliary=auxiliary,
        )  # fmt: skip
        if decoder_convolutions < 1 or low_level_channels < 1:
            raise ValueError(
                f"decoder_convolutions, low_level_channels: {decoder_convolutions}, {low_level_channels}, "
                "but 1 or more are expected (paper: 2 and 48)"
            )
        self.low_level = nn.Sequential(
            *conv_norm_relu(self.encoder.channels[0], low_level_channels, norm, kernel_size=1)
        )
        widths = [channels + low_level_channels] + [channels] * decoder_convolutions
        layers = [
            layer
            for before, after in pairwise(widths)
            for layer in conv_norm_relu(before, after, norm, separable=separable)
        ]
        self.decoder = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size=1)
        self._start(weights)

    def decode(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Return logits (B, num_classes, *size) of the maps of stride 4 and of the last ones."""
        low = self.low_level(maps[0])  # (48, H/4)
        x = self.aspp(maps[-1])  # (256, H/16)
        x = upsample_on_grid(x, self.stride // 4, (low.shape[2], low.shape[3]))
        x = self.classifier(self.decoder(torch.cat([x.to(low.dtype), low], dim=1)))  # (C, H/4)
        return upsample_on_grid(x, 4, size)
