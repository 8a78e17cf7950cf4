"""U-Net against its paper."""

import pytest
import torch
from torch.nn import functional as F

from seg.models import UNet
from tests.models.networks import NETWORKS


def test_it_has_the_parameters_of_the_paper():
    with torch.device("meta"):
        counts = {norm: sum(p.numel() for p in UNet(2, norm=norm).parameters()) for norm in ("batch", "none")}
    assert counts == {"batch": 31_037_698, "none": 31_031_810}


@pytest.mark.parametrize("size", [(36, 36), (37, 43)])
def test_it_equals_the_paper_written_out_with_functions(size):
    net = UNet(3, width=4, depth=2, norm="none").eval()
    s = {name: value.double() for name, value in net.state_dict().items()}
    x = torch.randn(1, 3, *size, dtype=torch.float64)

    def double(x, name):
        for index in (0, 3):
            x = F.relu(F.conv2d(x, s[f"{name}.{index}.weight"], s[f"{name}.{index}.bias"], padding=1))
        return x

    def pool(x):  # of odd sizes, the last row and column stand alone
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-torch.inf)
        return x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))

    a = double(x, "down.0")
    b = double(pool(a), "down.1")
    c = double(pool(b), "down.2")
    d = F.conv_transpose2d(c, s["up.0.weight"], s["up.0.bias"], stride=2)[..., : b.shape[2], : b.shape[3]]
    d = double(torch.cat([b, d], 1), "merge.0")
    e = F.conv_transpose2d(d, s["up.1.weight"], s["up.1.bias"], stride=2)[..., : a.shape[2], : a.shape[3]]
    e = double(torch.cat([a, e], 1), "merge.1")
    expected = F.conv2d(e, s["classifier.weight"], s["classifier.bias"])
    torch.testing.assert_close(net.double()(x), expected)


def test_separable_convolutions_need_a_fraction_of_the_parameters():
    counts = [sum(p.numel() for p in UNet(2, width=16, separable=value).parameters()) for value in (True, False)]
    assert counts[0] < 0.3 * counts[1]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"norm": "layer"}, "norm: 'layer' is none of batch, group, instance, none"),
        ({"upsampling": "nearest"}, "upsampling: 'nearest'"),
        ({"attention": "self"}, "attention: 'self' is none of se, cbam, none"),
        ({"dropout": 1.0}, r"dropout: 1\.0"),
        ({"depth": 0}, "depth: 0"),
        ({"width": 0}, "width: 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        UNet(2, **setting)


def test_dropout_acts_in_training_only():
    net = NETWORKS["unet_dropout"]()
    images = torch.randn(1, 3, 32, 32)
    net.train()
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


def test_dropout_follows_the_two_deepest_levels_of_the_contracting_path():
    net, seen = NETWORKS["unet_dropout"]().eval(), []
    net.dropout.register_forward_hook(lambda module, args, output: seen.append((output.shape[1], output.shape[2])))
    net(torch.randn(1, 3, 64, 64))
    assert seen == [(64, 8), (128, 4)]


def test_bilinear_upsampling_halves_the_channels_after_interpolation_as_well_as_before():
    net = NETWORKS["unet_bilinear"]().double()
    maps = torch.randn(1, 128, 3, 4, dtype=torch.float64)
    wide = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(net.up[0](maps), F.conv2d(wide, net.up[0][0].weight, net.up[0][0].bias))
