"""Norms, attention and changes of size, each by itself."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seg.models.attention import CBAM, SqueezeExcitation
from seg.models.blocks import (
    BatchNorm2d,
    InstanceNorm2d,
    conv_norm_relu,
    initialize,
    norm_layer,
    upsample,
    upsample_on_grid,
)


def test_a_norm_that_sees_one_value_uses_its_running_statistics_and_leaves_them_alone():
    norm = BatchNorm2d(4).train()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(9.0)
    x = torch.randn(1, 4, 1, 1)
    torch.testing.assert_close(norm(x), (x - 2) / np.sqrt(9 + 1e-5))
    assert (norm.running_mean == 2).all()
    stock = nn.BatchNorm2d(4).train()
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(BatchNorm2d(4).train()(x), stock(x))


def test_instance_norm_scales_and_shifts_a_single_value():
    norm = InstanceNorm2d(2, affine=True)
    x = torch.randn(1, 2, 1, 1)
    assert torch.equal(norm(x), x)
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(norm(x).mean((2, 3)), torch.zeros(1, 2))


def test_groups_have_16_channels_where_they_divide():
    assert [norm_layer("group", channels).num_groups for channels in (64, 48, 16, 24, 3)] == [4, 3, 1, 3, 3]


def test_a_separable_convolution_is_one_a_channel_and_one_across_channels():
    depthwise, _, _, pointwise, _, _ = conv_norm_relu(8, 12, "batch", separable=True)
    assert (depthwise.groups, tuple(depthwise.weight.shape)) == (8, (8, 1, 3, 3))
    assert tuple(pointwise.weight.shape) == (12, 8, 1, 1)


def test_weights_are_drawn_with_the_variance_of_he_and_biases_are_zero():
    torch.manual_seed(0)
    plain, grouped = nn.Conv2d(64, 256, 3), nn.Conv2d(256, 512, 3, groups=4)
    up, wide = nn.ConvTranspose2d(256, 64, 2, stride=2), nn.ConvTranspose2d(256, 64, 4, stride=2)
    net = nn.Sequential(plain, grouped, up, wide)
    initialize(net)
    assert not any(layer.bias.any() for layer in net)
    # 2 / incoming values, of which a transposed convolution without a ReLU behind it sees (kernel / stride)² a channel
    variances = [2 / (9 * 64), 2 / (9 * 64), 1 / 256, 1 / (4 * 256)]
    assert [float(layer.weight.var()) for layer in net] == pytest.approx(variances, rel=0.03)


@pytest.mark.parametrize(("channels", "narrow"), [(256, 16), (32, 4)])
def test_attention_narrows_16_times_but_not_below_4_channels(channels, narrow):
    assert [SqueezeExcitation(channels).gate[0].out_channels, CBAM(channels).gate[0].out_channels] == [narrow] * 2


def test_squeeze_and_excitation_scales_whole_channels():
    block, x = SqueezeExcitation(32), torch.randn(2, 32, 5, 7)
    ratio = block(x) / x
    assert ((ratio > 0) & (ratio < 1)).all()
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))
    first, _, second = block.gate
    squeezed = F.relu(x.mean((2, 3)) @ first.weight[:, :, 0, 0].T + first.bias)
    expected = (squeezed @ second.weight[:, :, 0, 0].T + second.bias).sigmoid()
    torch.testing.assert_close(ratio[..., 0, 0], expected)


def test_cbam_scales_channels_and_then_places():
    block, x = CBAM(32), torch.randn(2, 32, 9, 9)
    gate = lambda pooled: block.gate(pooled[:, :, None, None])[:, :, 0, 0]  # noqa: E731
    scaled = x * (gate(x.mean((2, 3))) + gate(x.amax((2, 3)))).sigmoid()[:, :, None, None]
    places = torch.stack([scaled.mean(1), scaled.amax(1)], 1)
    expected = scaled * F.conv2d(places, block.place.weight, block.place.bias, padding=3).sigmoid()
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("size", [(32, 32), (33, 49), (47, 34), (40, 35)])
def test_maps_on_their_grid_lie_where_strided_convolutions_saw_them(size):
    # A plane of rising values, sampled as an odd kernel of stride 8 samples it, comes back as it was.
    rows, columns = torch.meshgrid(torch.arange(size[0]) * 1.0, torch.arange(size[1]) * 2.0, indexing="ij")
    plane = (rows + columns)[None, None]
    sampled = F.conv2d(plane, torch.ones(1, 1, 1, 1), stride=8)
    result = upsample_on_grid(sampled, 8, size)
    last = [8 * (length - 1) + 1 for length in sampled.shape[2:]]
    torch.testing.assert_close(result[..., : last[0], : last[1]], plane[..., : last[0], : last[1]])
    assert result.shape[2:] == size
    # what lies beyond the last value repeats it
    assert torch.equal(
        result[..., last[0] - 1 :, 0], result[..., last[0] - 1 : last[0], 0].expand(1, 1, size[0] - last[0] + 1)
    )


def test_half_precision_is_interpolated_in_float32():
    maps = torch.randn(1, 2, 4, 5)
    for resize in (lambda x: upsample(x, (16, 20)), lambda x: upsample_on_grid(x, 4, (16, 20))):
        assert resize(maps.bfloat16()).dtype is torch.float32
        assert resize(maps.double()).dtype is torch.float64
        torch.testing.assert_close(resize(maps.bfloat16()), resize(maps.bfloat16().float()))


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm: 'layer' is none of batch, group, instance, none"):
        norm_layer("layer", 4)
    assert isinstance(norm_layer("none", 4), nn.Identity)
