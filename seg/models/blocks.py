"""What several networks share: norms, convolution blocks, changes of size, initial weights and checks."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seg import apple

SMALLEST_SIZE = 32
"""The smallest height and width, in pixels, that every network of the project takes."""

NORMS = ("batch", "group", "instance", "none")
_GROUP = 16  # channels a group; Wu & He 2018, table 3: as good as 32 groups, and independent of the width


class BatchNorm2d(nn.BatchNorm2d):
    """Normalise by batch statistics, or by the running ones where a channel has one value only.

    Training a 32×32 image alone ends in maps of 1×1, of which stock batch norm refuses to take a variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised (B, C, H, W) maps."""
        if self.training and x.size(0) * x.size(2) * x.size(3) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x.contiguous() if apple.careful(x.device) else x)


class InstanceNorm2d(nn.InstanceNorm2d):
    """Normalise each image's channels by their own statistics; a 1×1 map has none and is only scaled and shifted."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised (B, C, H, W) maps."""
        if torch.compiler.is_exporting():  # a branch would be taken once, for the size of the example
            maps = torch.instance_norm(x, self.weight, self.bias, None, None, True, 0.0, self.eps, False)
            return torch.where(torch.scalar_tensor(x.size(2) * x.size(3), device=x.device) == 1, self._scaled(x), maps)
        return self._scaled(x) if x.size(2) * x.size(3) == 1 else super().forward(x)

    def _scaled(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Return the norm called `norm` for `channels` channels: batch, group (16 channels a group), instance or none.

    Raises:
        ValueError: another name.

    """
    if norm == "batch":
        return BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(channels // gcd(channels, _GROUP), channels)
    if norm == "instance":
        return InstanceNorm2d(channels, affine=True)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"norm: '{norm}' is none of {', '.join(NORMS)}")


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    norm: str,
    kernel_size: int = 3,
    dilation: int = 1,
    separable: bool = False,
) -> list[nn.Module]:
    """Return a convolution that keeps the size, its norm and a ReLU; the bias exists only where no norm follows.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        norm: one of NORMS.
        kernel_size: odd.
        dilation: distance of the kernel's taps in pixels, the rate of the hole algorithm.
        separable: take a convolution of each channel and then a 1×1 across channels, each with norm and ReLU
            (Howard et al. 2017, figure 3).

    """
    if separable:
        depthwise = _convolution(in_channels, in_channels, norm, kernel_size, dilation, groups=in_channels)
        return [*depthwise, *_convolution(in_channels, out_channels, norm, 1)]
    return _convolution(in_channels, out_channels, norm, kernel_size, dilation)


def _convolution(
    in_channels: int, out_channels: int, norm: str, kernel_size: int, dilation: int = 1, groups: int = 1
) -> list[nn.Module]:
    padding, bias = dilation * (kernel_size // 2), norm == "none"
    convolution = nn.Conv2d(
        in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, groups=groups, bias=bias
    )
    return [convolution, norm_layer(norm, out_channels), nn.ReLU(inplace=True)]


def initialize(network: nn.Module) -> None:
    """Draw all convolutions from He et al.'s normal distribution (2015, variance 2 / incoming values), biases at 0."""
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            # No ReLU follows, and with kernel = stride each output pixel sees one input pixel: variance 1 / channels.
            seen = module.kernel_size[0] * module.kernel_size[1] / (module.stride[0] * module.stride[1])
            nn.init.normal_(module.weight, std=(module.in_channels / module.groups * seen) ** -0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_channels(num_classes: int, in_channels: int) -> None:
    """Refuse fewer than 2 or more than 255 classes, and fewer than 1 input channel.

    Raises:
        ValueError: says what is accepted.

    """
    if not 2 <= num_classes <= 255:
        raise ValueError(
            f"num_classes: {num_classes}, but a network separates 2 to 255 classes; "
            "for one kind of object use two: background and object"
        )
    if in_channels < 1:
        raise ValueError(f"in_channels: {in_channels}, but an image has 1 channel or more (3 for RGB)")


def check_dropout(dropout: float) -> None:
    """Refuse what is no probability, and 1, which would leave nothing.

    Raises:
        ValueError: says what is accepted.

    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: {dropout}, but the probability of dropping a value is at least 0 and below 1")


def check_images(images: Tensor, in_channels: int) -> None:
    """Refuse anything but (B, in_channels, H, W) with H and W of 32 or more.

    Raises:
        ValueError: says the shape given and what is accepted.

    """
    if images.ndim != 4 or images.shape[1] != in_channels:
        raise ValueError(
            f"images: shape {tuple(images.shape)}, but the network takes (batch, {in_channels}, height, width)"
        )
    if images.shape[2] < SMALLEST_SIZE or images.shape[3] < SMALLEST_SIZE:
        raise ValueError(
            f"images: {images.shape[2]}×{images.shape[3]} pixels (height × width), but the network takes "
            f"{SMALLEST_SIZE}×{SMALLEST_SIZE} or more; enlarge or pad them first"
        )


def pad_to_multiple(images: Tensor, stride: int, smallest: int = 0) -> Tensor:
    """Pad (B, N, H, W) at the bottom and right with zeros to sides of multiples of `stride` and at least `smallest`.

    Zero is the mean colour of normalised images and what the convolutions themselves see beyond the border. Padding
    only at the end keeps pixel (0, 0) at the corner of the pooling grid, and costs no decision about odd remainders.
    """
    # Unconditional, so that a graph exported with free sizes has no branch; nothing to pad costs a copy of the image.
    height, width = images.shape[-2:]
    if not smallest:
        return F.pad(images, (0, -width % stride, 0, -height % stride))
    bottom, right = (max(smallest, size + -size % stride) - size for size in (height, width))
    return F.pad(images, (0, right, 0, bottom))


def crop(logits: Tensor, height: int, width: int) -> Tensor:
    """Return the top left (B, C, height, width) of logits: what was padded is gone."""
    if torch.compiler.is_exporting():
        # The copy has no stride to guess: a view would bind the graph to sizes that are, or are not, multiples.
        return F.pad(logits, (0, width - logits.shape[3], 0, height - logits.shape[2]))
    return logits[..., :height, :width]


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (B, C, h, w) stretched to (B, C, *size), their outer edges on the outer edges of the image.

    Interpolated in float32 under autocast, which is exact and on CPUs faster than in bfloat16.
    """
    return F.interpolate(_wide(maps), size, mode="bilinear", align_corners=False)


def upsample_on_grid(maps: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Return maps (B, C, h, w) at (B, C, *size), value i laid on pixel i · stride, where strided convolutions saw it.

    Convolutions and poolings with an odd kernel, padded by half of it, are centred there. Stretched edge to edge
    instead, the values would lie (stride − 1) / 2 pixels off; aligned at the corners, they fit only images of a
    multiple of the stride plus 1, such as the 513 and 769 of the DeepLab papers.
    """
    # One more row and column, equal to the last: enough for every size whose maps have ceil(size / stride) values.
    maps = F.pad(_wide(maps), (0, 1, 0, 1), mode="replicate")
    height, width = (stride * (length - 1) + 1 for length in maps.shape[-2:])
    return crop(F.interpolate(maps, (height, width), mode="bilinear", align_corners=True), *size)


def _wide(maps: Tensor) -> Tensor:
    """Return half-precision maps in float32, others as they are."""
    return maps.float() if maps.dtype in (torch.bfloat16, torch.float16) else maps
