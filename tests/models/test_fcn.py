"""FCN against its paper."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seg.models import FCN
from seg.models.blocks import BatchNorm2d
from seg.models.fcn import upsampling_layer
from tests.models.networks import fcn, without_chance


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_it_has_the_parameters_of_the_paper():
    # VGG-16 up to fc7, a score for each of three maps, and transposed convolutions between all 21 classes.
    vgg = 14_714_688 + (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096
    scores = 21 * (4096 + 1 + 512 + 1 + 256 + 1)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in FCN(21).parameters())
    assert count == vgg + scores + 21**2 * (4**2 + 4**2 + 16**2)
    assert round(count / 1e6, 2) == 134.49


def test_training_starts_with_equal_scores_for_all_classes():
    assert not fcn()()(torch.randn(1, 3, 64, 48)).any()


@pytest.mark.parametrize(("factor", "size"), [(2, 6), (8, 5)])
def test_a_transposed_convolution_starts_as_bilinear_interpolation_of_each_class(factor, size):
    maps = torch.randn(1, 3, size, size, dtype=torch.float64)
    result = upsampling_layer(3, factor, "learnt").double()(maps)
    expected = F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    assert result.shape == expected.shape
    inside = slice(factor // 2, -(factor // 2))
    torch.testing.assert_close(result[..., inside, inside], expected[..., inside, inside])
    assert torch.equal(upsampling_layer(3, factor, "fixed").double()(maps), expected)


@pytest.mark.parametrize("variant", ["8s", "16s", "32s"])
def test_scores_of_finer_maps_are_added_on_the_way_up(variant):
    net = without_chance(fcn(variant=variant)()).eval().double()
    images = torch.randn(1, 3, 75, 101, dtype=torch.float64)
    x, pooled = images, []
    for stage in net.encoder.stages:
        x = F.max_pool2d(stage(x), 2, ceil_mode=True)
        pooled.append(x)
    for layer, padding in ((net.head[0], 3), (net.head[3], 0)):  # fc6, fc7
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, padding=padding))
    x = net.scores[0](x)
    for index, skip in enumerate([pooled[3], pooled[2]][: {"8s": 2, "16s": 1, "32s": 0}[variant]]):
        x = net.up[index](x)[..., : skip.shape[2], : skip.shape[3]] + net.scores[index + 1](skip)
    x = net.up[-1](x)[..., :75, :101]
    torch.testing.assert_close(net(images), x)
    assert len(net.scores) == {"8s": 3, "16s": 2, "32s": 1}[variant]


def test_the_encoders_name_says_whether_norms_follow_and_norm_overrides_it():
    norms = lambda net: {type(module) for module in net.modules() if isinstance(module, nn.BatchNorm2d | nn.GroupNorm)}  # noqa: E731
    assert norms(fcn()()) == norms(fcn(encoder="vgg16_bn", norm="none")()) == set()
    assert norms(fcn(encoder="vgg16_bn")()) == norms(fcn(norm="batch")()) == {BatchNorm2d}
    assert norms(fcn(encoder="vgg16_bn", norm="group")()) == {nn.GroupNorm}


def test_any_encoder_of_the_library_can_carry_it():
    for encoder in ("mobilenet_v2", "tu-resnet18", "mit_b0"):
        net = fcn(encoder=encoder, dropout=0.3)()
        assert [layer.p for layer in net.head] == [0.3]
        net = without_chance(net).eval()
        assert net(torch.randn(1, 3, 67, 71)).shape == (1, 3, 67, 71)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"variant": "4s"}, "variant: '4s' is none of 32s, 16s, 8s"),
        ({"encoder": "vgg17"}, r"encoder: 'vgg17' is unknown; nearest: vgg1"),
        ({"encoder": "resnet18", "norm": "group"}, "norm: 'group', but resnet18 has its own norms"),
        ({"upsampling": "nearest"}, "upsampling: 'nearest' is neither learnt nor fixed"),
        ({"norm": "layer"}, "norm: 'layer' is none of"),
        ({"dropout": -0.1}, r"dropout: -0\.1"),
        ({"width": 0}, "width: 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        fcn()(**setting)
