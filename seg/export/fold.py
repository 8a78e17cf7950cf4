"""Batch norms folded into the convolutions in front of them: the same function with half of the layers."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from seg.models.profile import evaluating


class _Uses(TorchFunctionMode):
    """Count how often each tensor is computed with; all are kept, for an id is used again once its tensor is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[int] = Counter()
        self.kept: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):  # not a question about a shape
            self.note(args, kwargs)
        return result

    def note(self, *used: Any) -> None:
        """Count each tensor of nested arguments once."""
        tensors = {id(leaf): leaf for leaf in tree_leaves(used) if isinstance(leaf, Tensor)}
        self.counts.update(tensors.keys())
        self.kept += tensors.values()


def fold(net: nn.Module, images: Tensor) -> tuple[nn.Module, int]:
    """Return a copy of a network, for evaluation, without the batch norms that directly follow a convolution.

    What follows what is seen in one pass, not read off names or orders: a norm is folded where it takes the output of
    a convolution that nothing else takes, and both run once. Norms before convolutions stay, as do group and instance
    norms, which depend on the image.

    Args:
        net: any network; it stays as it is.
        images: normalised (B, N, H, W), to run it once.

    Returns:
        The copy, equal to 1e-5, and the number of norms that are gone.

    """
    net = copy.deepcopy(net).eval()
    pairs = list(_pairs(net, images))
    replaced: dict[nn.Module, nn.Module] = {}
    for convolution, norm in pairs:
        _fuse(convolution, norm)
        behind = [part for name, part in norm.named_children() if name in ("drop", "act")]  # timm's norms activate, too
        replaced[norm] = nn.Sequential(*behind) if behind else nn.Identity()
    for module in list(net.modules()):
        for name, child in module.named_children():
            if child in replaced:
                setattr(module, name, replaced[child])
    return net, len(pairs)


def _pairs(net: nn.Module, images: Tensor) -> Iterable[tuple[nn.Conv2d | nn.ConvTranspose2d, nn.BatchNorm2d]]:
    """Yield (convolution, batch norm) of those that can become one."""
    uses = _Uses()
    outputs: dict[int, nn.Module] = {}
    inputs: dict[nn.Module, int] = {}
    calls: Counter[nn.Module] = Counter()

    def leaves(module: nn.Module, args: Any, output: Tensor) -> None:
        calls[module] += 1
        uses.kept.append(output)
        outputs[id(output)] = module

    def takes(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        calls[module] += 1
        inputs[module] = id(args[0])

    hooks = []
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            hooks.append(module.register_forward_hook(leaves))
        elif _foldable(module):
            hooks.append(module.register_forward_pre_hook(takes))
    with evaluating(net), torch.no_grad(), uses:
        uses.note(net(images))
    for hook in hooks:
        hook.remove()

    owners = Counter(id(parameter) for module in net.modules() for parameter in module.parameters(recurse=False))
    for norm, taken in inputs.items():
        convolution = outputs.get(taken)
        if not isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d) or not isinstance(norm, nn.BatchNorm2d):
            continue
        grouped = isinstance(convolution, nn.ConvTranspose2d) and convolution.groups > 1  # torch's formula lacks it
        once = calls[convolution] == calls[norm] == uses.counts[taken] == owners[id(convolution.weight)] == 1
        if once and not grouped:
            yield convolution, norm


def _foldable(module: nn.Module) -> bool:
    """Tell whether a module normalises by statistics that no longer change, and we know all that it does."""
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return False
    activates = any(kind.__name__ == "BatchNormAct2d" for kind in type(module).__mro__)
    return activates or type(module).__name__ in ("BatchNorm2d", "SyncBatchNorm")


def _fuse(convolution: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weight and bias of itself and the norm, computed in float64."""
    held = (convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    weight, bias, mean, variance, scale, shift = (None if value is None else value.detach().double() for value in held)
    assert weight is not None
    assert mean is not None
    assert variance is not None
    transposed = isinstance(convolution, nn.ConvTranspose2d)
    fused = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift, transposed)
    convolution.weight, convolution.bias = (
        nn.Parameter(value.detach().to(convolution.weight.dtype), requires_grad=False) for value in fused
    )
