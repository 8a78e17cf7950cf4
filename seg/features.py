"""Looking into a network: its feature maps, its first filters, and what a pixel of its output sees.

Arrays come in and uint8 RGB arrays (H, W, 3) go out; `collect` takes the maps from a network.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seg.draw import fit_size, grid, rgb
from seg.heat import beside, heat, scale_bar

if TYPE_CHECKING:
    from torch import Tensor, nn


def feature_maps(maps: np.ndarray, number: int = 16, columns: int = 8, smallest: int = 96) -> np.ndarray:
    """Draw the feature maps of one image, those that vary most first, each from its own smallest to largest value.

    Args:
        maps: (C, H, W), such as one image of what `collect` returns.
        number: how many are drawn; all where there are fewer.
        columns: maps a row.
        smallest: longer side in pixels up to which small maps are enlarged, each value staying a square.

    Raises:
        ValueError: not three dimensions, or no map at all.

    """
    if maps.ndim != 3 or 0 in maps.shape:
        raise ValueError(f"feature_maps: an array of {maps.shape}, expected (channels, H, W), none of them 0")
    values = maps.astype(np.float64)
    finite = np.where(np.isfinite(values), values, np.nan)
    known = np.isfinite(finite)
    spread = np.where(known, finite, 0.0).var(axis=(1, 2))
    order = np.argsort(-spread, kind="stable")[: max(1, number)]
    drawn = []
    for channel in order:
        inside = finite[channel][known[channel]]
        low, high = (float(inside.min()), float(inside.max())) if inside.size else (0.0, 1.0)
        drawn.append(fit_size(heat(finite[channel], low, high), smallest=smallest, largest=320))
    return grid(drawn, columns=columns, gap=4)


def filters(weights: np.ndarray, columns: int = 16, smallest: int = 40) -> np.ndarray:
    """Draw the filters of a first convolution, all on one scale on which zero is grey.

    Args:
        weights: (out, in, kh, kw). Filters of three input channels are drawn as colours; of any other number each
            input channel makes a row of its own in the filter's cell: red above zero, blue below.
        columns: filters a row.
        smallest: longer side of a cell's picture in pixels, about.

    Raises:
        ValueError: not four dimensions, or an empty one.

    """
    if weights.ndim != 4 or 0 in weights.shape:
        raise ValueError(f"filters: weights of {weights.shape}, expected (out, in, height, width), none of them 0")
    values = np.nan_to_num(weights.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    scaled = values / max(float(np.abs(values).max()), 1e-12)  # -1 to 1
    cells = []
    for kernel in scaled:
        if len(kernel) == 3:
            cell = ((kernel.transpose(1, 2, 0) + 1) * 127.5 + 0.5).astype(np.uint8)
            cells.append(fit_size(cell, smallest=smallest))
        else:
            parts = [fit_size(_signed(channel), smallest=smallest) for channel in kernel]
            cells.append(grid(parts, columns=1, gap=1))
    return grid(cells, columns=columns, gap=4)


def _signed(values: np.ndarray) -> np.ndarray:
    """Return values of -1..1 in colours: blue below zero, white at it, red above."""
    ends = np.where((values > 0)[..., None], (178, 24, 43), (33, 102, 172)).astype(np.float64)
    share = np.abs(values)[..., None]
    return np.asarray((ends * share + 255.0 * (1 - share) + 0.5).astype(np.uint8))


def receptive_field(field: np.ndarray, image: np.ndarray | None = None, scale: bool = True) -> np.ndarray:
    """Draw what a pixel of the output sees: bright where the input counts, over the image where one is given.

    Args:
        field: (H, W), how much each input pixel counts, such as the gradient's power; drawn as the square root of its
            share of the largest, since it falls off like a bell.
        image: of the same size, see `seg.draw.rgb`; it shows through where the field is weak.
        scale: draw a scale bar at the right.

    Raises:
        ValueError: the sizes differ.

    """
    if field.ndim != 2 or (image is not None and image.shape[:2] != field.shape):
        other = "" if image is None else f" and an image of {image.shape[:2]}"
        raise ValueError(f"receptive_field: a field of {field.shape}{other}, expected the same (height, width)")
    power = np.clip(np.nan_to_num(field.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0), 0, None)
    share = np.sqrt(power / max(float(power.max()), 1e-300))
    picture = heat(share)
    if image is not None:
        opacity = (0.15 + 0.7 * share)[..., None]
        picture = (picture * opacity + rgb(image) * (1 - opacity) + 0.5).astype(np.uint8)
    return beside(picture, scale_bar(len(picture), 0.0, 1.0)) if scale else picture


def collect(net: "nn.Module", images: "Tensor", names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Run a network once and return the feature maps of some of its modules, float32 (B, C, H, W).

    Args:
        net: any network; its mode and weights are as before afterwards.
        images: (B, N, H, W), as the network takes them.
        names: of modules, as `net.named_modules()` has them; all that put out feature maps where not given.

    Raises:
        ValueError: a name that no module has.

    """
    import torch

    modules = dict(net.named_modules())
    if unknown := [name for name in names or () if name not in modules]:
        raise ValueError(f"collect: no module is called {unknown[0]!r}; there are {', '.join(filter(None, modules))}")
    found: dict[str, np.ndarray] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            # a copy: what follows may change it in place
            found[name] = output.detach().float().cpu().numpy().copy()

    hooks = [
        modules[name].register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
        for name in (filter(None, modules) if names is None else names)
    ]
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        with torch.no_grad():
            net(images)
    finally:
        for module, training in modes:
            module.training = training
        for hook in hooks:
            hook.remove()
    return found
