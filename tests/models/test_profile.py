import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seg.models import FCN, SMP, DeepLabLargeFOV, DeepLabV3, SegNet, UNet
from seg.models.blocks import BatchNorm2d
from seg.models.profile import TrainingStep, gmacs, input_channels, parameters


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: SegNet(11), 106.7),
        (lambda: FCN(11), 74.5),
        (lambda: DeepLabLargeFOV(11), 82.8),
        (lambda: DeepLabV3(11), 32.5),
        (lambda: UNet(11), 126.9),
    ],
    ids=["segnet", "fcn", "largefov", "deeplabv3", "unet"],
)
def test_networks_have_the_multiplications_that_an_independent_counter_finds(build, expected):
    # U-Net's 127.4 have 23 rows where the counter's floor pooling leaves 22, and loses what is below them.
    with torch.device("meta"):
        assert gmacs(build(), (360, 480)) == pytest.approx(expected, rel=0.004)


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_torchvisions_networks_have_the_multiplications_that_it_publishes(name):
    from torchvision.models import get_model, get_model_weights

    with torch.device("meta"):
        net = get_model(name, weights=None, weights_backbone=None, aux_loss=True)
    published = get_model_weights(name).DEFAULT.meta["_ops"]
    assert gmacs(net, (520, 520)) == pytest.approx(published, abs=0.001)
    assert parameters(net) == get_model_weights(name).DEFAULT.meta["num_params"]


def test_counting_leaves_a_network_and_its_modes_as_they_were():
    net = UNet(3, width=4).train()
    net.down[0].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gmacs(net, (64, 64))
    assert net.training
    assert not net.down[0].training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Wrong(nn.Sequential):
    """Hand a network images of one channel too many."""

    in_channels = 4


def test_modes_come_back_after_an_error():
    net = UNet(3, width=4).train()
    with pytest.raises(ValueError, match="shape"):
        gmacs(Wrong(net), (64, 64))
    assert all(module.training for module in net.modules())


def test_the_channels_of_a_foreign_network_are_those_of_its_first_convolution():
    assert input_channels(UNet(2, in_channels=5, width=4)) == 5
    assert input_channels(nn.Sequential(nn.ReLU(), nn.Conv2d(7, 2, 1))) == 7


class WithAuxiliary(nn.Module):
    """Return a second, smaller prediction in training."""

    def __init__(self):
        super().__init__()
        self.main, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return (self.main(x), [self.second(F.avg_pool2d(x, 2))]) if self.training else self.main(x)


def test_a_step_trains_every_output_of_a_network():
    net = WithAuxiliary()
    before = [parameter.clone() for parameter in net.parameters()]
    step = TrainingStep(net, (32, 40), batch=2, classes=4)
    step.run()
    assert not any(torch.equal(*pair) for pair in zip(before, net.parameters(), strict=True))
    assert step.seconds(steps=1) > 0


def test_the_memory_of_a_step_is_that_of_weights_gradients_optimiser_and_activations():
    # hardly any activation: weights, gradients and two moments of AdamW, of 4 bytes each
    wide = nn.Sequential(
        nn.Conv2d(3, 1024, 1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(1024, 1024, 1), nn.Conv2d(1024, 2, 1)
    )
    step = TrainingStep(wide, (32, 32), batch=1, classes=2)
    step.run()
    floor = 4 * 4 * parameters(wide)
    assert floor < step.peak_bytes() < 1.75 * floor  # AdamW's temporaries, and 4 MiB of one map

    # hardly any weight: every map of a deep stack is kept for the way back
    def peak(depth):
        layers = [nn.Conv2d(8, 8, 1), BatchNorm2d(8)] * depth
        deep = nn.Sequential(nn.Conv2d(3, 8, 1), *layers, nn.Conv2d(8, 2, 1))
        step = TrainingStep(deep, (128, 128), batch=2, classes=2)
        step.run()
        return step.peak_bytes()

    one_map = 2 * 8 * 128 * 128 * 4
    assert peak(11) - peak(1) == pytest.approx(10 * 2 * one_map, rel=0.05)


def test_every_kind_of_network_is_counted():
    for arch, encoder in (("PAN", "resnet18"), ("Segformer", "mit_b0"), ("DPT", "tu-vit_tiny_patch16_224")):
        assert gmacs(SMP(3, arch, encoder), (64, 96)) > 0.1
