"""VGG-16, the encoder of FCN, SegNet, DeconvNet and DeepLab v1: Simonyan & Zisserman, ICLR 2015.

Configuration D of table 1: 13 convolutions of 3×3 in 5 stages, a pooling after each, which the networks do themselves;
then fc6, fc7 (and fc8, the ImageNet classifier, which segmentation has no use for).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seg.models.attention import attention_layers
from seg.models.blocks import BatchNorm2d, conv_norm_relu
from seg.models.weights import adapt_channels, load_own_or, weights_wanted

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions a stage."""

Unit = tuple[nn.Conv2d, nn.Module]
"""A convolution and its norm (nn.Identity where there is none)."""


def stage_channels(width: int = 64) -> list[int]:
    """Return the channels of the five stages; 64 to 512 in the paper.

    Raises:
        ValueError: a width below 1.

    """
    if width < 1:
        raise ValueError(f"width: {width}, but the first stage needs 1 channel or more (the paper has 64)")
    return [width, 2 * width, 4 * width, 8 * width, 8 * width]


def vgg16_stages(
    in_channels: int, width: int, norm: str, last_dilation: int = 1, attention: str = "none"
) -> nn.ModuleList:
    """Return the five stages of convolutions, without the poolings in between.

    Args:
        in_channels: channels of the image.
        width: channels of the first stage.
        norm: batch, group, instance or none (the paper's).
        last_dilation: rate of the last stage's convolutions, for networks that leave out poolings before it.
        attention: se, cbam or none, at the end of every stage.

    """
    stages, before = nn.ModuleList(), in_channels
    for count, channels, dilation in zip(CONVOLUTIONS, stage_channels(width), (1, 1, 1, 1, last_dilation), strict=True):
        layers: list[nn.Module] = []
        for _ in range(count):
            layers += conv_norm_relu(before, channels, norm, dilation=dilation)
            before = channels
        stages.append(nn.Sequential(*layers, *attention_layers(attention, channels)))
    return stages


def units(stages: Iterable[nn.Module]) -> list[Unit]:
    """Return the convolutions of stages in order, each with the norm behind it."""
    found: list[Unit] = []
    for stage in stages:
        for first, second in pairwise(stage.children()):
            if isinstance(first, nn.Conv2d):
                is_norm = isinstance(second, nn.modules.batchnorm._NormBase | nn.GroupNorm)
                found.append((first, second if is_norm else nn.Identity()))
    return found


class Layer(NamedTuple):
    """A convolution's tensors from a file, and those of the batch norm behind it, if there is one."""

    name: str
    weight: Tensor
    bias: Tensor
    norm: dict[str, Tensor]


def layers_of(state: dict[str, Tensor], source: str) -> list[Layer]:
    """Return the 13 convolutions and fc6, fc7 (as 7×7 and 1×1 convolutions) of a state dict in torchvision's naming.

    Args:
        state: tensors of vgg16 or vgg16_bn; biases and the classifier may be missing.
        source: begins the error, such as "weights: file.pth".

    Raises:
        ValueError: not a VGG-16.

    """
    parts: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        if found := re.fullmatch(r"features\.(\d+)\.(\w+)", name):
            parts.setdefault(int(found[1]), {})[found[2]] = value
    layers: list[Layer] = []
    for number, part in sorted(parts.items()):
        weight = part.get("weight")
        if weight is not None and weight.ndim == 4:
            layers.append(Layer(f"features.{number}", weight, part.get("bias", weight.new_zeros(len(weight))), {}))
        elif layers:
            layers[-1].norm.update(part)
    if len(layers) != sum(CONVOLUTIONS):
        raise ValueError(
            f"{source} holds {len(layers)} convolutions called features.*, but a VGG-16 has 13; give a state dict of "
            "torchvision's vgg16 or vgg16_bn, or of this network, or null for random weights"
        )
    for name, size in (("classifier.0", 7), ("classifier.3", 1)):
        weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
        if weight is not None and bias is not None and weight[0].numel() % size**2 == 0:
            layers.append(Layer(name, weight.reshape(len(weight), -1, size, size), bias, {}))
    return layers


def load_vgg16(
    network: nn.Module,
    stages: Iterable[nn.Module],
    weights: str | None,
    norm: str,
    change: Callable[[Layer], Layer] = lambda layer: layer,
) -> None:
    """Fill a network from a file of its own, or its VGG-16 from one in torchvision's naming, or from the net.

    Args:
        network: receives every tensor of a file of its own.
        stages: the parts of it that are VGG-16's: its stages, and fc6 and fc7 where the network has them.
        weights: imagenet, a file, or None for nothing.
        norm: of the network; decides between vgg16 and vgg16_bn on the net.
        change: what is to be made of a layer of the file.

    Raises:
        FileNotFoundError: `weights` is neither imagenet nor a file.
        ConnectionError: the weights cannot be downloaded.
        ValueError: layers that do not fit.

    """
    if weights is None or not weights_wanted():
        return
    state = load_own_or(network, weights, "vgg16" if norm == "none" else "vgg16_bn")
    if state is not None:
        source = f"weights: {weights}"
        place(units(stages), [change(layer) for layer in layers_of(state, source)], source)


@torch.no_grad()
def place(targets: Sequence[Unit], layers: Sequence[Layer], source: str) -> None:
    """Copy the tensors of a file into convolutions and their norms.

    A bias in front of a batch norm does nothing but shift the mean that it subtracts, so it is kept there.

    Args:
        targets: as many as there are layers, or fewer: the rest is not wanted.
        layers: see `layers_of`.
        source: begins the error, such as "weights: file.pth".

    Raises:
        ValueError: layers are missing, shapes differ, or the norms are of another kind than the file's.

    """
    if len(layers) < len(targets):
        raise ValueError(f"{source} has no fc6 and fc7 (classifier.0 and .3); give a state dict with them")
    for (convolution, norm), layer in zip(targets, layers, strict=False):
        weight = adapt_channels(layer.weight, convolution.in_channels)
        if weight.shape != convolution.weight.shape:
            raise ValueError(
                f"{source} does not fit: {layer.name} is {tuple(weight.shape)}, the network's "
                f"{tuple(convolution.weight.shape)}; leave width at 64, or null for random weights"
            )
        if not isinstance(norm, BatchNorm2d) and (layer.norm or not isinstance(norm, nn.Identity)):
            raise ValueError(
                f"{source} has {'batch norms' if layer.norm else 'no norms'}, which the network's norm cannot take; "
                f"set norm: batch{'' if layer.norm else ' or none'}, or null for random weights"
            )
        convolution.weight.copy_(weight)
        if convolution.bias is not None:
            convolution.bias.copy_(layer.bias)
        if isinstance(norm, BatchNorm2d):
            norm.load_state_dict({**norm.state_dict(), **layer.norm})
            assert norm.running_mean is not None
            norm.running_mean -= layer.bias
