"""ResNets that trade stride for dilation: He et al., CVPR 2016; Chen et al., "Rethinking Atrous Convolution", 2017.

Names follow torchvision, whose weights fit as they are. As there, a bottleneck's stride is in its 3×3 convolution, and
the convolution that had the stride of a stage, before that was traded, keeps the rate of the stage before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg.models.blocks import initialize, norm_layer
from seg.models.encoders import unknown


class _Depth(NamedTuple):
    blocks: tuple[int, int, int, int]
    bottleneck: bool


DEPTHS = {
    "resnet18": _Depth((2, 2, 2, 2), bottleneck=False),
    "resnet34": _Depth((3, 4, 6, 3), bottleneck=False),
    "resnet50": _Depth((3, 4, 6, 3), bottleneck=True),
    "resnet101": _Depth((3, 4, 23, 3), bottleneck=True),
    "resnet152": _Depth((3, 8, 36, 3), bottleneck=True),
}
"""Table 1 of the ResNet paper."""


class ResNet(nn.Module):
    """Turn images (B, N, H, W) into the maps of the four stages, those of stride 4, 8 and up to the output stride.

    Args:
        name: resnet18, resnet34, resnet50, resnet101 or resnet152.
        in_channels: channels of the image.
        output_stride: 8, 16 or 32 (a plain ResNet); further stages keep their size and have dilated convolutions.
        multi_grid: factors on the rate of the last stage's blocks, one each (section 3.2.1 of DeepLab v3).
        dilation: rates of the blocks of all dilated stages, in turn, instead of one rate a stage.
        norm: batch, group, instance or none.

    Raises:
        ValueError: an argument outside these.

    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        name: str,
        in_channels: int = 3,
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = None,
        dilation: Sequence[int] | None = None,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if name not in DEPTHS:
            raise ValueError(unknown("encoder", name, DEPTHS, show_all=True))
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride: {output_stride}, but maps of stride 8, 16 or 32 are possible")
        depth = DEPTHS[name]
        rates = block_rates(depth.blocks, output_stride, multi_grid, dilation)
        self.norm = norm
        self.conv1 = nn.Conv2d(in_channels, 64, kernel_size=7, stride=2, padding=3, bias=norm == "none")
        self.bn1 = norm_layer(norm, 64)
        before = 64
        kind = _Bottleneck if depth.bottleneck else _BasicBlock
        self.channels = [width * (4 if depth.bottleneck else 1) for width in (64, 128, 256, 512)]
        for stage, (width, out) in enumerate(zip((64, 128, 256, 512), self.channels, strict=True)):
            stride = 2 if stage > 0 and 4 * 2**stage <= output_stride else 1
            blocks = []
            for index, rate in enumerate(rates[stage]):
                # What comes behind the convolution that had the stride already needs the rate of its own stage.
                later = rate if multi_grid or dilation else rates[stage][-1]
                blocks.append(kind(before, width, out, stride if index == 0 else 1, rate, later, norm))
                before = out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        initialize(self)
        if norm == "none":
            _tame(self)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of layer1 (stride 4) to layer4 (the output stride)."""
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)
        x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


def block_rates(
    blocks: Sequence[int],
    output_stride: int,
    multi_grid: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
) -> list[list[int]]:
    """Return the rate of every block of the four stages, see `ResNet`.

    Raises:
        ValueError: both patterns at once, another number of factors than the last stage has blocks, rates below 1, or
            a pattern where no stage is dilated.

    """
    for setting, pattern in (("multi_grid", multi_grid), ("dilation", dilation)):
        if pattern is not None and (not pattern or min(pattern) < 1):
            raise ValueError(f"{setting}: {list(pattern)}, but rates of 1 or more are expected")
    if multi_grid is not None and dilation is not None:
        raise ValueError("multi_grid, dilation: both set the rates of the last stage; leave one of them out")
    if multi_grid is not None and len(multi_grid) != blocks[-1]:
        raise ValueError(f"multi_grid: {list(multi_grid)}, but the last stage has {blocks[-1]} blocks: one factor each")
    if dilation is not None and output_stride == 32:
        raise ValueError("dilation: at output_stride 32 no stage is dilated; set 8 or 16, or leave dilation out")

    rates, before = [], 1
    for stage, count in enumerate(blocks):
        rate = max(1, 4 * 2**stage // output_stride)
        chosen = [before] + [rate] * (count - 1)
        if rate > 1 and dilation is not None:
            chosen = [dilation[index % len(dilation)] for index in range(count)]
        elif stage == len(blocks) - 1 and multi_grid is not None:
            chosen = [rate * factor for factor in multi_grid]
        rates.append(chosen)
        before = rate
    return rates


class _BasicBlock(nn.Module):
    """Two 3×3 convolutions around which the input is added."""

    def __init__(self, before: int, width: int, out: int, stride: int, rate: int, later: int, norm: str) -> None:
        super().__init__()
        self.conv1 = _conv3x3(before, width, stride, rate, norm)
        self.bn1 = norm_layer(norm, width)
        self.conv2 = _conv3x3(width, out, 1, later, norm)
        self.bn2 = norm_layer(norm, out)
        self.downsample = _shortcut(before, out, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


class _Bottleneck(nn.Module):
    """A 1×1, a 3×3 and a 1×1 convolution around which the input is added."""

    def __init__(self, before: int, width: int, out: int, stride: int, rate: int, later: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, kernel_size=1, bias=norm == "none")
        self.bn1 = norm_layer(norm, width)
        self.conv2 = _conv3x3(width, width, stride, rate, norm)
        self.bn2 = norm_layer(norm, width)
        self.conv3 = nn.Conv2d(width, out, kernel_size=1, bias=norm == "none")
        self.bn3 = norm_layer(norm, out)
        self.downsample = _shortcut(before, out, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


def _conv3x3(before: int, out: int, stride: int, rate: int, norm: str) -> nn.Conv2d:
    return nn.Conv2d(before, out, 3, stride=stride, padding=rate, dilation=rate, bias=norm == "none")


def _shortcut(before: int, out: int, stride: int, norm: str) -> nn.Module:
    """Return what brings a block's input to the size and channels of its output; nothing where it has them."""
    if stride == 1 and before == out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(before, out, 1, stride=stride, bias=norm == "none"), norm_layer(norm, out))


@torch.no_grad()
def _tame(network: ResNet) -> None:
    """Scale the last convolution of every block down, for without norms each block would double the variance.

    By blocks ** −½, which keeps the sum of all branches at the size of the input (cf. Zhang, Dauphin, Ma, ICLR 2019).
    """
    blocks = [module for module in network.modules() if isinstance(module, _BasicBlock | _Bottleneck)]
    for block in blocks:
        last = block.conv3 if isinstance(block, _Bottleneck) else block.conv2
        last.weight.mul_(len(blocks) ** -0.5)
