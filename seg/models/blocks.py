"""What several networks share: norms, padding to the stride, initial weights, checks and weight files."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import gcd
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_SIZE = 32
"""The smallest height and width, in pixels, that every network of the project takes."""

NORMS = ("batch", "group", "instance", "none")
_GROUP = 16  # channels a group; Wu & He 2018, table 3: as good as 32 groups, and independent of the width
_weights_wanted: ContextVar[bool] = ContextVar("weights_wanted", default=True)


class BatchNorm2d(nn.BatchNorm2d):
    """Normalise by batch statistics, or by the running ones where a channel has one value only.

    Training a 32×32 image alone ends in maps of 1×1, of which stock batch norm refuses to take a variance.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised (B, C, H, W) maps."""
        if self.training and x.size(0) * x.size(2) * x.size(3) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class InstanceNorm2d(nn.InstanceNorm2d):
    """Normalise each image's channels by their own statistics; a 1×1 map has none and is only scaled and shifted."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised (B, C, H, W) maps."""
        if x.size(2) * x.size(3) == 1:
            return x * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)
        return super().forward(x)


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


def conv_norm_relu(in_channels: int, out_channels: int, norm: str) -> list[nn.Module]:
    """Return a 3×3 convolution that keeps the size, its norm and a ReLU; the bias exists only where no norm follows."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=norm == "none")
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


@contextmanager
def without_weights() -> Iterator[None]:
    """Build networks without reading or downloading what their `weights` argument names.

    For rebuilding a trained network: its checkpoint brings all weights, so neither the network nor the file that
    training once started from is needed.

    Example:
        with without_weights():
            net = UNet(2, weights="a/file/that/is/gone.pth")
        net.load_state_dict(trained)

    """
    token = _weights_wanted.set(False)
    try:
        yield
    finally:
        _weights_wanted.reset(token)


def weights_wanted() -> bool:
    """Return whether networks are to load what `weights` names, that is, unless inside `without_weights`."""
    return _weights_wanted.get()


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fill a network from a file: a state dict saved by `torch.save`, or a checkpoint of this project.

    Args:
        network: receives every tensor.
        path: a .pth or .ckpt file; of a checkpoint, the part that belongs to the network (`net.`) is taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors, or tensors whose names or shapes differ from the network's.

    """
    state = read_weights(path)
    fill(network, state, f"weights: {path}", type(network).__name__)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a .pth file by name, or those of the network (`net.`) of a checkpoint.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors.

    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights: there is no file {path}; give the path of a .pth file, or null for random weights"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here: UnpicklingError, RuntimeError, EOFError, …
        raise ValueError(
            f"weights: {path} cannot be read as tensors saved by torch.save(net.state_dict(), …)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
        inside = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
        state = inside or state
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights: {path} holds no state dict; save one with torch.save(net.state_dict(), path)")
    return state


def fill(module: nn.Module, state: dict[str, Tensor], source: str, what: str) -> None:
    """Load a state dict, or say which tensors do not fit.

    Args:
        module: receives every tensor.
        state: tensors by name.
        source: begins the error, such as "weights: file.pth".
        what: the module's name in the error.

    Raises:
        ValueError: names or shapes differ; the first three are named.

    """
    expected = module.state_dict()
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not in the network" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the network's {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ValueError(
            f"{source} does not fit {what}: {shown}. "
            "Use a file of the same network with the same settings, or null for random weights"
        )
    module.load_state_dict(state)
