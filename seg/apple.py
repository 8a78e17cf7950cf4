"""What Apple's GPUs (torch's device mps) refuse or get silently wrong, and what is computed there instead.

| operation | what goes wrong | here |
| --- | --- | --- |
| anything in float64 | does not exist (pytorch #122602) | `widest` |
| adaptive average pooling to a size that does not divide | refused up to torch 2.10 (#143864) | `AdaptiveAveragePool` |
| cross-entropy with labels beyond the classes | not masked in every version (#108148) | no label beyond is passed |
| batch norm's gradient in the channels-last layout | wrong by far (#175189) | `plain_layout`, our batch norms |
| convolution of slices of channels in that layout | wrong (#180984) | `plain_layout` |
| convolution with weights that are not contiguous | wrong (#192212) | `plain_layout` |
| scatter_add_ into a slice that does not begin at 0 | does nothing (#163327) | nobody does it |
| sort, argsort of what is not contiguous | sorts other values (#175187) | nobody does it |
| max_unpool2d, antialiased bicubic resizing | do not exist in every version (#141287) | nobody does it |

The tests compute everything in the way chosen here on a CPU, and refuse the operations of this table.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def careful(device: torch.device) -> bool:
    """Tell whether a device is one of Apple's."""
    return device.type == "mps"


def widest(device: torch.device) -> torch.dtype:
    """Return the widest float type of a device: float64, where there is one."""
    return torch.float32 if careful(device) else torch.float64


def plain_layout(net: nn.Module) -> None:
    """Bring the weights of a network that has come to one of Apple's devices to the plain layout."""
    if any(careful(weights.device) for weights in net.parameters()):
        net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def laid_out(images: Tensor, channels_last: bool) -> Tensor:
    """Return images (B, N, H, W) in the channels-last layout where that is asked for, on Apple's in the plain one."""
    if careful(images.device):
        return images.contiguous()
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images


class AdaptiveAveragePool(nn.AdaptiveAvgPool2d):
    """Average the windows of a grid of a given size; the same as torch's layer, on all devices.

    And in ONNX files: there torch's layer knows the windows of one size of maps alone, that of the trace.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (B, C, *output_size) of maps (B, C, H, W)."""
        given = self.output_size
        rows, columns = given if isinstance(given, tuple | list) else (given, given)
        size = (rows or x.shape[-2], columns or x.shape[-1])
        exporting = torch.compiler.is_exporting() and size != (1, 1)
        if not exporting and not (careful(x.device) and _overlap(x.shape[-2:], size)):
            return F.adaptive_avg_pool2d(x, size)
        down, across = (_windows(side, wanted).to(x) for side, wanted in zip(x.shape[-2:], size, strict=True))
        return down @ x @ across.T


def _overlap(sides: Sequence[int], wanted: Sequence[int]) -> bool:
    """Tell whether windows share values: where the sides do not divide."""
    return any(side % number for side, number in zip(sides, wanted, strict=True))


def _windows(side: int, wanted: int) -> Tensor:
    """Return what each of the wanted values takes of each of a side's: (wanted, side), rows of sum 1."""
    place, index = torch.arange(side), torch.arange(wanted)[:, None]
    first, beyond = index * side // wanted, ((index + 1) * side + wanted - 1) // wanted
    return ((place >= first) & (place < beyond)) / (beyond - first)
