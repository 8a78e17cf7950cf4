from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seg.models import SMP, UNet
from seg.models.receptive_field import gradient_power, receptive_field, span, theoretical_field


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def stack(layers, width=16):
    """Return 3×3 convolutions of random weights."""
    channels = [3, *[width] * layers]
    return nn.Sequential(*(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(channels)))


class Enlarged(nn.Module):
    """Bring maps to the size of the image by repeating each value."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return F.interpolate(self.network(x), x.shape[-2:], mode="nearest")


# ---- theoretical


@pytest.mark.parametrize("layers", [1, 4, 20])
def test_a_stack_of_convolutions_sees_two_pixels_more_a_layer(layers):
    assert theoretical_field(stack(layers)) == (2 * layers + 1, 2 * layers + 1)


def test_fields_are_those_of_the_literature():
    # Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", 2019
    from torchvision.models import resnet50
    from torchvision.models.vgg import cfgs, make_layers

    # few channels at the end, since all are enlarged
    residual = nn.Sequential(*list(resnet50().children())[:-2], nn.Conv2d(2048, 2, 1))
    plain = make_layers(cfgs["D"]).append(nn.Conv2d(512, 2, 1))
    assert theoretical_field(Enlarged(plain)) == (212, 212)
    # theirs strides in the first 1×1 of a stage, torchvision's in its 3×3, which then sees 8, 16 and 32 pixels less
    assert theoretical_field(Enlarged(residual)) == (483 - 56, 483 - 56)
    assert theoretical_field(UNet(2, width=4, norm="none")) == (188, 188)


@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_norms_add_nothing_to_the_field(norm):
    assert theoretical_field(UNet(2, width=4, norm=norm)) == (188, 188)


def test_height_and_width_are_told_apart_and_dilated_convolutions_count_their_whole_extent():
    net = nn.Sequential(
        nn.Conv2d(3, 4, (5, 1), padding=(2, 0)), nn.ReLU(), nn.Conv2d(4, 2, (1, 3), padding=(0, 7), dilation=(1, 7))
    )
    assert theoretical_field(net) == (5, 15)


class Unpooling(nn.Module):
    """Pool, convolve, and put the values back to where the maxima were; in one of three ways of writing it."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.inner, self.outer = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x):
        pooled, indices = F.max_pool2d(x, 4, ceil_mode=True, return_indices=True)
        pooled = self.inner(pooled)
        if self.how == "unpool":
            up = F.max_unpool2d(pooled, indices, 4, output_size=x.shape[-2:])
        elif self.how == "scatter":
            up = torch.zeros_like(x).flatten(2).scatter(2, indices.flatten(2), pooled.flatten(2)).view(x.shape)
        else:
            up = torch.zeros_like(x).flatten(2)
            up = up.scatter_(-1, indices.flatten(2), pooled.flatten(2)).unflatten(2, x.shape[2:])
        return self.outer(up)


@pytest.mark.parametrize("how", ["unpool", "scatter", "scatter_"])
def test_a_value_that_is_unpooled_may_come_to_lie_anywhere_in_its_window(how):
    # The last convolution lies across two windows at the centre, and their values see four: 16 pixels.
    assert theoretical_field(Unpooling(how)) == (16, 16)


def test_max_pooling_sees_its_whole_window_whatever_its_stride_padding_and_rounding():
    for options in ({"stride": 1, "padding": 1}, {"stride": 1, "padding": 1, "ceil_mode": True}):
        assert theoretical_field(nn.Sequential(nn.Conv2d(3, 2, 1), nn.MaxPool2d(3, **options))) == (3, 3)
    dilated = nn.MaxPool2d(3, stride=1, padding=1, dilation=4)
    net = nn.Sequential(nn.Conv2d(3, 2, 1), Enlarged(dilated))
    assert theoretical_field(net) == (9, 9)


class Gated(nn.Module):
    """Scale channels by what the whole image holds, with a gate that is closed."""

    def __init__(self):
        super().__init__()
        self.score, self.gate = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.score(x) * (self.gate(F.adaptive_max_pool2d(x, 1)) - 100.0).relu()


class Gates(nn.Module):
    """Multiply maps by their own mean, again and again: the numbers themselves vanish soon."""

    def forward(self, x):
        for _ in range(14):
            x = x * x.mean((2, 3), keepdim=True)
        return x


def test_global_pooling_sees_the_whole_image():
    assert theoretical_field(Gated()) is None
    assert theoretical_field(nn.Sequential(nn.Conv2d(3, 2, 1), Gates())) is None
    assert theoretical_field(SMP(2, "DeepLabV3Plus", "resnet18")) is None


@pytest.mark.parametrize("rate", [300, 700])
def test_a_field_wider_than_the_first_canvas_is_found_too(rate):
    layers = [nn.Conv2d(3, 3, 3, padding=rate, dilation=rate) for _ in range(2)]
    assert theoretical_field(nn.Sequential(*layers)) == (4 * rate + 1, 4 * rate + 1)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["Unet", "UnetPlusPlus", "Linknet", "MAnet", "PSPNet", "PAN", "UPerNet"])
def test_a_field_holds_every_pixel_whose_change_moves_the_logit(arch):
    net = SMP(2, arch, "resnet18").eval()
    field = theoretical_field(net)
    if arch in ("MAnet", "PSPNet", "PAN", "UPerNet"):
        assert field is None
    else:
        image = torch.randn(1, 3, 1024, 128, requires_grad=True)
        net(image)[0, :, 512, 64].sum().backward()
        rows = image.grad[0].any(0).any(1).nonzero()
        assert int(rows[-1] - rows[0]) + 1 <= field[0] < 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    "encoder", ["efficientnet-b0", "mit_b0", "tu-convnext_tiny", "mobilenet_v2", "timm-skresnet18"]
)
def test_every_kind_of_encoder_has_a_field(encoder):
    field = theoretical_field(SMP(2, "Unet", encoder))
    assert (field is None) == (encoder in ("efficientnet-b0", "mit_b0", "timm-skresnet18"))


# ---- effective


def expected_power(layers, size):
    """Convolve uniform kernels, as Luo et al. derive for random weights: a profile (size,)."""
    profile = np.zeros(size)
    profile[size // 2] = 1
    for _ in range(layers):
        profile = np.convolve(profile, np.ones(3) / 3, mode="same")
    return torch.from_numpy(profile)


@pytest.mark.parametrize("layers", [4, 16])
def test_the_gradient_of_random_convolutions_has_the_power_that_theory_says(layers):
    size = 4 * layers + 8
    power = sum(gradient_power(stack(layers, width=32), (size, size), samples=1) for _ in range(4)) / 4
    assert power.sum() == pytest.approx(1)
    profile = expected_power(layers, size)
    for axis in (0, 1):
        assert (power.sum(axis) - profile).abs().sum() < 0.2
        assert abs(span(power.sum(axis)) - span(profile)) <= 2
    reached = power.nonzero()
    assert (reached.amax(0) - reached.amin(0) + 1).tolist() == [2 * layers + 1] * 2


def test_four_times_the_layers_double_the_effective_field_only():
    fields = [receptive_field(stack(layers), (100, 100), samples=2) for layers in (9, 36)]
    assert [field.theoretical for field in fields] == [(19, 19), (73, 73)]
    for axis in (0, 1):
        assert 1.6 < fields[1].effective[axis] / fields[0].effective[axis] < 2.5


def test_the_span_of_a_profile_is_the_narrowest_around_the_middle():
    assert span(torch.tensor([0.0, 0, 1, 0, 0])) == 1
    assert span(torch.tensor([0.0, 1, 1, 1, 0])) == 3
    assert span(torch.tensor([1.0, 0, 0, 0, 0, 0])) == 6
    assert span(torch.ones(8)) == 8
    deviation = 20.0
    normal = torch.exp(-0.5 * ((torch.arange(401) - 200) / deviation).square()).double()
    assert span(normal) == pytest.approx(4 * deviation, abs=2)


def test_layers_that_start_at_zero_are_measured_as_random_ones_and_stay_zero():
    net = stack(3)
    nn.init.zeros_(net[-1].weight)
    field = receptive_field(net, (32, 32), samples=1)
    assert field.gradient.isfinite().all()
    assert field.theoretical == (7, 7)
    assert not net[-1].weight.any()


def test_measuring_changes_neither_the_network_nor_the_random_numbers_of_others():
    net = UNet(2, width=4).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    first = gradient_power(net, (48, 64), samples=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(gradient_power(net, (48, 64), samples=1), first)
    assert first.shape == (48, 64)
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
