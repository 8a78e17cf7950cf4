import pytest
import torch
from torch import nn

from seg.export.fold import fold
from tests.models.networks import NETWORKS, outputs, without_chance

DEFAULT = ("unet", "deconvnet", "deeplabv3plus_separable", "smp_unet")


def with_statistics(net: nn.Module) -> nn.Module:
    """Give all norms statistics, scales and shifts that are none of the initial ones."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator).mul_(0.1)
            module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, std=0.2, generator=generator)
    return net.eval()


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@torch.no_grad()
def largest_difference(net: nn.Module, folded: nn.Module, images: torch.Tensor) -> float:
    """Return the largest difference of two networks' logits, relative to the largest logit."""
    expected, found = outputs(net(images))[0], outputs(folded(images))[0]
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "name", [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_every_network_is_the_same_without_its_batch_norms(name):
    torch.manual_seed(0)
    net = with_statistics(without_chance(NETWORKS[name]()))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    folded, count = fold(net, torch.randn(1, 3, 64, 64))
    used = norms(net) - norms(getattr(net, "auxiliary", None) or nn.Identity())  # heads of training alone do not run
    assert count == used
    assert norms(folded) == norms(net) - used
    images = torch.randn(2, 3, 67, 97)
    assert largest_difference(net, folded, images) < 1e-5
    exact, _ = fold(net.double(), images.double())
    assert largest_difference(net, exact, images.double()) < 1e-12
    assert all(torch.equal(value, before[key].to(value.dtype)) for key, value in net.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "encoder"),
    [
        ("Unet", "mobilenet_v2"),
        ("DeepLabV3Plus", "resnet18"),
        ("FPN", "tu-efficientnet_b0"),
        ("Unet", "tu-regnetx_002"),
    ],
)
def test_networks_of_smp_are_the_same_without_their_batch_norms(arch, encoder):
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    net = with_statistics(smp.create_model(arch, encoder, encoder_weights=None, classes=3))
    folded, count = fold(net, torch.randn(1, 3, 64, 64))
    assert count > 10
    assert norms(folded) == norms(net) - count
    assert largest_difference(net, folded, torch.randn(2, 3, 96, 64)) < 1e-5


class Branching(nn.Module):
    """Hold each case that looks like a pair and is none, and two that are pairs."""

    def __init__(self):
        super().__init__()
        self.seen_twice, self.behind_seen_twice = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.before, self.convolution = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)
        self.run_twice, self.behind_run_twice = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.grouped, self.behind_grouped = nn.ConvTranspose2d(3, 6, 2, 2, groups=3), nn.BatchNorm2d(6)
        self.up, self.behind_up = nn.ConvTranspose2d(6, 4, 3, 2), nn.BatchNorm2d(4, affine=False)
        self.last, self.behind_last = nn.Conv2d(4, 3, 3, groups=1, bias=False), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.seen_twice(x)
        y = self.behind_seen_twice(y) + y
        y = self.convolution(self.before(torch.relu(y)))
        y = self.behind_run_twice(self.run_twice(self.run_twice(y)))
        y = self.behind_grouped(self.grouped(y))
        return self.behind_last(self.last(self.behind_up(self.up(y))))


def test_only_a_norm_that_alone_follows_a_convolution_is_folded():
    torch.manual_seed(0)
    net = with_statistics(Branching())
    folded, count = fold(net, torch.randn(1, 3, 32, 32))
    gone = [name for name, module in folded.named_children() if isinstance(module, nn.Identity)]
    assert gone == ["behind_up", "behind_last"]
    assert count == 2
    assert largest_difference(net, folded, torch.randn(2, 3, 35, 41)) < 1e-5


def test_a_norm_of_an_unknown_kind_stays():
    class Doubled(nn.BatchNorm2d):
        def forward(self, x):
            return 2 * super().forward(x)

    net = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), Doubled(4)))
    folded, count = fold(net, torch.randn(1, 3, 32, 32))
    assert count == 0
    assert largest_difference(net, folded, torch.randn(1, 3, 33, 35)) == 0
