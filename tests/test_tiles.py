from itertools import pairwise

import numpy as np
import pytest
import torch

from seg.models import UNet
from seg.tiles import GRID, Tiling, spans, tiled

CPU = torch.device("cpu")


def together(network, image, tiling) -> torch.Tensor:
    return torch.cat([band.scores for band in tiled(network, image, tiling.checked(), CPU)], 1)


def lively_unet() -> torch.nn.Module:
    """Return a network of a receptive field of 44 pixels whose norms do something."""
    torch.manual_seed(0)
    net = UNet(5, width=4, depth=2).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.5)
    return net


@pytest.mark.parametrize("size", [(200, 333), (64, 64), (513, 511), (10, 900), (900, 33), (1, 1)])
@pytest.mark.parametrize("tiling", [Tiling(64), Tiling(96, 0.5, batch=3), Tiling(128, 0.75), Tiling(64, 0.0, batch=2)])
def test_what_an_identity_network_gives_comes_back_bit_for_bit(size, tiling):
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(together(lambda tiles: tiles, image, tiling), image)


@pytest.mark.parametrize("size", [(300, 421), (257, 600)])
@pytest.mark.parametrize("tiling", [Tiling(128, 0.5), Tiling(128, 0.5, 22, batch=4), Tiling(160, 0.6)])
def test_a_network_whose_receptive_field_fits_gives_what_it_gives_for_the_whole_image(size, tiling):
    net = lively_unet()
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = net(image[None])[0]
        torch.testing.assert_close(together(net, image, tiling), whole, atol=1e-4, rtol=0)


def test_without_a_margin_the_edges_of_tiles_show():
    net = lively_unet()
    image = torch.randn(3, 300, 421, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        whole = net(image[None])[0]
        assert (together(net, image, Tiling(128, 0.5, 0)) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("margin", [0, 5])
def test_tiles_are_blended_as_a_weighted_mean_of_gaussians(overlap, margin):
    # a network that gives each tile a value of its own: the weights are what is left
    height, width = 200, 170
    tiling = Tiling(64, overlap, margin)
    rows, columns = (spans(length, 64, tiling.step) for length in (height, width))
    values = np.random.default_rng(0).random((len(rows), len(columns)))
    numbers = iter(values.ravel())
    blended = together(lambda tiles: torch.full_like(tiles, next(numbers)), torch.zeros(1, height, width), tiling)

    def weight(begin, end, length):
        place = np.arange(end - begin) + 0.5
        gauss = np.exp(-0.5 * ((place - (end - begin) / 2) / ((end - begin) / 8)) ** 2)
        if margin:
            gauss = np.maximum(gauss - gauss_at(margin, end - begin), 1e-6)
        gauss[: margin if begin else 0] = 0
        gauss[len(gauss) - (margin if end < length else 0) :] = 0
        return gauss

    def gauss_at(place, size):
        return np.exp(-0.5 * ((place - size / 2) / (size / 8)) ** 2)

    sums, weights = np.zeros((height, width)), np.zeros((height, width))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            tile = np.outer(weight(top, bottom, height), weight(left, right, width))
            sums[top:bottom, left:right] += tile * values[i, j]
            weights[top:bottom, left:right] += tile
    np.testing.assert_allclose(blended[0].numpy(), sums / weights, atol=1e-5)


def test_tiles_cover_an_axis_on_the_grid_and_end_at_its_edge():
    for length in range(1, 700):
        found = spans(length, 128, 96)
        assert found[0][0] == 0
        assert found[-1][1] == length
        assert all(begin % GRID == 0 for begin, _ in found)
        assert all(end - begin == 128 for begin, end in found[:-1])
        assert all(later[0] <= earlier[1] - 32 for earlier, later in pairwise(found))
        assert found[-1][1] - found[-1][0] < 128 + GRID


def test_only_a_row_of_tiles_is_held_and_tiles_of_a_size_are_batched():
    seen = []

    def network(tiles):
        seen.append(tuple(tiles.shape))
        return tiles

    heights = [band.scores.shape[1] for band in tiled(network, torch.zeros(1, 640, 300), Tiling(128, batch=2), CPU)]
    assert max(heights) <= 128
    assert sum(heights) == 640
    assert seen[:2] == [(2, 1, 128, 128), (1, 1, 128, 140)]


@pytest.mark.parametrize(
    ("tiling", "message"),
    [
        (Tiling(16), "--tile 16"),
        (Tiling(512, 1.0), "--overlap 1.0"),
        (Tiling(512, 0.25, 100), "--margin 100.*0 to 64"),
        (Tiling(batch=0), "--batch-size 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(tiling, message):
    with pytest.raises(ValueError, match=message):
        tiling.checked()
