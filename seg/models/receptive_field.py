"""Receptive fields: which input pixels a logit can depend on, and which it does depend on.

Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks", 2016: the theoretical
field grows with the number of layers, the effective one with its square root.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from seg.models.profile import evaluating, input_channels

_SHARE = 0.9545  # of a normal distribution within two standard deviations, as Luo et al. measure (section 3)
_SAME = (  # element by element, so that the dependency stays what it was
    *("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "hardtanh", "hardtanh_", "elu", "elu_", "selu", "gelu"),
    *("silu", "silu_", "mish", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "sigmoid", "sigmoid_", "tanh"),
    *("tanh_", "prelu", "softplus", "clamp", "clamp_", "batch_norm", "group_norm", "instance_norm", "layer_norm"),
)


@dataclass(frozen=True)
class ReceptiveField:
    """What the logit at the centre of an image depends on.

    Args:
        theoretical: height and width in pixels of all that can matter, whatever the image's size; None where that is
            the whole image: global pooling, attention, or more than 4096 pixels. Norms are left out, group norm too,
            whose statistics are, strictly, of the whole image.
        effective: height and width in pixels, around the centre, of what holds 95.45 % of the gradient's power along
            either axis: two standard deviations of a normal distribution to both sides.
        gradient: float64 (H, W), each pixel's share of the gradient's power; sums to 1.

    """

    theoretical: tuple[int, int] | None
    effective: tuple[int, int]
    gradient: Tensor


def receptive_field(
    net: nn.Module, size: tuple[int, int], samples: int = 4, dtype: torch.dtype = torch.float32
) -> ReceptiveField:
    """Measure the receptive field of the logits at the centre of an image.

    The network is used as it is: of random weights, the field is that at the start of training, of trained ones what
    training has made of it. Layers that are initialised to zero count as random ones, for nothing passes them.

    Args:
        net: network from images (B, N, H, W) to logits of the same height and width; left as it was.
        size: height and width in pixels of the images by which the effective field is measured.
        samples: number of images of Gaussian noise to average over, the same ones in every call.
        dtype: number format to compute the gradient in; other than float32, by autocast.

    """
    gradient = gradient_power(net, size, samples, dtype)
    effective = span(gradient.sum(1)), span(gradient.sum(0))
    return ReceptiveField(theoretical_field(net), effective, gradient)


def gradient_power(
    net: nn.Module, size: tuple[int, int], samples: int = 4, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return each pixel's share of the power of the centre logits' gradient: float64 (H, W), sums to 1.

    The power, not the absolute value, is what Luo et al. (2016, theorem 1) derive for random weights: one layer's
    kernel, squared, convolved with the next one's.
    """
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(0)
    state = {name: value.detach() for name, value in [*net.named_parameters(), *net.named_buffers()]}
    for name, value in net.named_parameters():
        if not value.any() and name.endswith("weight"):
            deviation = (2 / value[0].numel()) ** 0.5
            drawn = torch.randn(value.shape, generator=generator) * deviation if value.ndim > 1 else torch.ones(1)
            state[name] = drawn.expand(value.shape).to(value)

    power = torch.zeros(size, dtype=torch.float64, device=device)
    with evaluating(net):
        for _ in range(samples):  # one by one: a batch would need the memory of training
            images = torch.randn(1, input_channels(net), *size, generator=generator).to(device).requires_grad_()
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = functional_call(net, state, (images,))[0, :, size[0] // 2, size[1] // 2].float()
            # random signs give every class the same say: the power of a sum is then the sum of the powers
            signs = torch.randint(0, 2, logits.shape, generator=generator).to(logits) * 2 - 1
            (gradient,) = torch.autograd.grad(logits @ signs, images)
            power += gradient[0].double().square().sum(0)
    return (power / power.sum()).cpu()


def span(power: Tensor, share: float = _SHARE) -> int:
    """Return the pixels, around the middle index (n // 2) of a profile (n,), that hold a share of its sum."""
    middle = len(power) // 2
    left, right = power[: middle + 1].flip(0), power[middle:]
    padded = [F.pad(side, (0, len(left) - len(side))) for side in (left, right)]
    held = (padded[0] + padded[1]).cumsum(0) - power[middle]
    radius = int(torch.searchsorted(held, share * power.sum()))
    return min(2 * radius + 1, len(power))


# ---- what can matter


def theoretical_field(net: nn.Module) -> tuple[int, int] | None:
    """Return height and width of all pixels that the centre logit can depend on, None for the whole image.

    The network runs on long narrow images, with every convolution, pooling and activation replaced by the mean of what
    it sees: the gradient is then non-zero exactly where there is a path.
    """
    height, width = (_reach(net, axis) for axis in (2, 3))
    return None if height is None or width is None else (height, width)


def _reach(net: nn.Module, axis: int) -> int | None:
    """Return the pixels along an axis (2: rows, 3: columns) that the centre logit can depend on, None for all."""
    before = None
    for length in (1024, 2048, 4096):
        shape = [1, input_channels(net), 64, 64]
        shape[axis] = length
        # float64: a path of a hundred 3×3 kernels has a weight of 9 ** -100
        images = torch.rand(shape, dtype=torch.float64, device=next(net.parameters()).device, requires_grad=True)
        with evaluating(net), _Paths():
            logits = net(images)
        (gradient,) = torch.autograd.grad(logits[0, :, shape[2] // 2, shape[3] // 2].sum(), images)
        seen = gradient[0].transpose(0, axis - 1).flatten(1).any(1).nonzero()
        first, last = int(seen[0]), int(seen[-1])
        extent = last - first + 1 if first > 0 and last < length - 1 else None
        # a wide dilation may reach beyond a short image without touching its border
        if extent is not None and extent == before:
            return extent
        before = extent
    return before


class _Paths(TorchFunctionMode):
    """Replace what a network computes by means, so that no value hides a path: neither a ReLU nor a maximum.

    All channels of a map count as one, a product as a sum; norms are left out. What has no rule here runs as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pools: dict[tuple[int, int], tuple[torch.Size, dict[str, Any]]] = {}
        self.rules: dict[str, Callable[..., Any]] = dict.fromkeys(_SAME, lambda x, *_, **__: x)
        self.rules |= {
            "conv2d": _convolution,
            "conv_transpose2d": _transposed,
            "linear": lambda x, weight, bias=None: x.mean(-1, keepdim=True).expand(*x.shape[:-1], len(weight)),
            "scaled_dot_product_attention": _attention,
            "softmax": _softmax,
            "interpolate": _each_channel(F.interpolate),
            "avg_pool2d": _each_channel(F.avg_pool2d),
            "adaptive_avg_pool2d": _each_channel(F.adaptive_avg_pool2d),
            "adaptive_max_pool2d": lambda x, size, *_, **__: F.adaptive_avg_pool2d(x, size),
            "amax": lambda x, dim, keepdim=False: x.mean(dim, keepdim),
            "max_pool2d": lambda *args, **options: self.pool(*args, **options)[0],
            "max_pool2d_with_indices": self.pool,
            "max_unpool2d": self.unpool,
            **dict.fromkeys(("scatter", "scatter_"), self.scatter),
            **dict.fromkeys(("mul", "mul_"), _product),
            **dict.fromkeys(("add", "add_"), _sum),
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the rule for a function of torch, or the function itself where there is none."""
        rule = self.rules.get(getattr(func, "__name__", ""), func)
        return rule(*args, **(kwargs or {}))

    def pool(
        self,
        x: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return the mean of each window of a max pooling, and the indices that it gives."""
        one = _narrow(x)
        stride = stride or kernel_size
        options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
        maxima, indices = F.max_pool2d(one, kernel_size, **options, return_indices=True)
        pads, kernel, strides, rates = map(_pair, (padding, kernel_size, stride, dilation))
        # what the last window needs beyond the border, which depends on the rounding
        sides = [
            (pad, (count - 1) * step + rate * (side - 1) + 1 - size - pad)
            for pad, count, step, rate, side, size in zip(
                pads, maxima.shape[2:], strides, rates, kernel, x.shape[2:], strict=True
            )
        ]
        means = F.conv2d(F.pad(one, (*sides[1], *sides[0])), _mean(kernel, x), stride=strides, dilation=rates)
        windows = {"kernel_size": kernel, "stride": strides, "padding": pads, "output_size": x.shape[2:]}
        self.pools[maxima[0, 0].numel(), x[0, 0].numel()] = maxima.shape[2:], windows
        return _widen(means, x.shape[1]), indices.expand(-1, x.shape[1], -1, -1)

    def unpool(
        self,
        x: Tensor,
        indices: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:
        """Return maps in which each value has gone to every place of its window, since any could be the maximum's."""
        kernel, steps, pads = map(_pair, (kernel_size, stride or kernel_size, padding))
        spread = F.conv_transpose2d(_narrow(x), _mean(kernel, x), stride=steps)
        sizes = [full - 2 * pad for full, pad in zip(spread.shape[2:], pads, strict=True)]
        height, width = output_size[-2:] if output_size is not None else sizes
        top, left = pads
        spread = F.pad(spread, (-left, width - spread.shape[3] + left, -top, height - spread.shape[2] + top))
        return _widen(spread, x.shape[1])

    def scatter(self, x: Tensor, dim: int, index: Tensor, src: Any, **options: Any) -> Tensor:
        """Return what `unpool` does where flat maps are scattered to the indices of an earlier pooling."""
        known = self.pools.get((index.shape[-1], x.shape[-1]))
        if known is None or dim not in (-1, x.ndim - 1) or not isinstance(src, Tensor):
            return x.scatter(dim, index, src, **options)
        size, windows = known
        return self.unpool(src.reshape(*src.shape[:-1], *size), index, **windows).flatten(2)


def _convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, *_: Any
) -> Tensor:
    return _widen(F.conv2d(_narrow(x), _mean(weight.shape[2:], x), None, stride, padding, dilation), len(weight))


def _transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    kernel = _mean(weight.shape[2:], x)
    one = F.conv_transpose2d(_narrow(x), kernel, None, stride, padding, output_padding, 1, dilation)
    return _widen(one, weight.shape[1] * groups)


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
    return value.mean(-2, keepdim=True) + query.mean(-1, keepdim=True)


def _softmax(x: Tensor, dim: int = -1, *_: Any, **__: Any) -> Tensor:
    mean = x.mean(dim, keepdim=True)
    return (mean / (1 + mean.abs())).expand_as(x)  # bounded: the scores of attention are products


def _product(x: Any, y: Any) -> Any:
    both = all(isinstance(side, Tensor) and side.requires_grad for side in (x, y))
    return x + y if both else torch.mul(x, y)


def _sum(x: Any, y: Any, **options: Any) -> Any:
    # never in place: equal channels share memory
    if hasattr(x, "one") and hasattr(y, "one") and x.shape == y.shape:
        return _widen(x.one + y.one, x.shape[1])
    return torch.add(x, y, **options)


def _each_channel(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function of maps that is computed once where all channels are equal."""

    def rule(x: Tensor, *args: Any, **options: Any) -> Tensor:
        one = getattr(x, "one", None)
        return function(x, *args, **options) if one is None else _widen(function(one, *args, **options), x.shape[1])

    return rule


def _widen(one: Tensor, channels: int) -> Tensor:
    """Return maps (B, C, H, W) of equal channels, which remember the single one (B, 1, H, W)."""
    maps = one.expand(-1, channels, -1, -1)
    maps.one = one  # type: ignore[attr-defined]
    return maps


def _narrow(maps: Tensor) -> Tensor:
    """Return the mean over the channels (B, 1, H, W); that of equal channels costs nothing."""
    one: Tensor | None = getattr(maps, "one", None)
    return maps.mean(1, keepdim=True) if one is None else one


def _mean(kernel: Any, like: Tensor) -> Tensor:
    """Return the weight of a convolution of one channel that takes the mean."""
    return torch.full((1, 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype=like.dtype, device=like.device)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
