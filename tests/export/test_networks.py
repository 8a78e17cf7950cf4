"""Every network through every export, compared with PyTorch in fp32."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seg.apple import AdaptiveAveragePool
from seg.export.parity import compare, holds
from seg.export.quantise import quantise
from seg.export.runtime import ExportedNetwork
from seg.export.samples import at_three_sizes, drawn_images
from seg.models import SMP
from tests.export.networks_as_files import card, task_of, written
from tests.models.networks import NETWORKS, without_chance

DEFAULT = ("deeplabv3plus",)


def chosen(names) -> list:
    return [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in names]


def network(name: str) -> nn.Module:
    """Return a network whose norms have seen images, so that its maps are of a size that halves can hold."""
    torch.manual_seed(0)
    net = without_chance(NETWORKS[name]()).train()
    with torch.no_grad():
        for _ in range(2):
            net(torch.randn(4, 3, 64, 96))
    return net.eval()


def shown(images) -> list[torch.Tensor]:
    """Return images at three sizes and at the smallest one."""
    images = list(images)
    return [*at_three_sizes(images), images[3][..., :32, :32]]


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("name", chosen(NETWORKS))
def test_every_network_gives_the_same_labels_at_three_sizes(name, suffix, tmp_path):
    net, described = network(name), card()
    path = written(net, tmp_path / f"model{suffix}", described)
    found = compare(task_of(net, described), ExportedNetwork(path, "cpu"), shown(drawn_images(described, 4)))
    if (name, suffix) == ("deconvnet_instance", ".onnx"):
        # The norm of the two places that fc6 leaves of 192×256 pixels magnifies rounding.
        assert all(line.agreement > 0.999 for line in found), found
    else:
        assert holds(found), found


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_pyramid_pooling_finds_its_windows_at_every_size(suffix, tmp_path):
    net, described = AdaptiveAveragePool((3, 6)), card()
    file = ExportedNetwork(written(net, tmp_path / f"model{suffix}", described), "cpu")
    for images in shown(drawn_images(described, 4)):
        expected = F.adaptive_avg_pool2d(task_of(nn.Identity(), described)(images), (3, 6))
        torch.testing.assert_close(file.output(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["PSPNet", "UPerNet", "PAN", "FPN", "Linknet"])
def test_other_networks_of_the_library_give_the_same_labels_at_three_sizes(arch, tmp_path):
    torch.manual_seed(0)
    net, described = SMP(3, arch, "resnet18").eval(), card()
    path = written(net, tmp_path / "model.onnx", described)
    found = compare(task_of(net, described), ExportedNetwork(path, "cpu"), shown(drawn_images(described, 4)))
    assert holds(found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_in_8_bits(name, tmp_path):
    net, described = network(name), card(precision="int8")
    images = list(drawn_images(described, 4))
    source = written(net, tmp_path / "model.onnx", card())
    quantise(source, tmp_path / "int8.onnx", images, described)
    found = compare(task_of(net, described), ExportedNetwork(tmp_path / "int8.onnx", "cpu"), at_three_sizes(images))
    assert all(line.agreement > 0.5 for line in found), found
    # in an untrained network statistics of single images magnify what is lost, and unpooling moves it to other pixels
    if not name.endswith("_instance") and not name.startswith(("segnet", "deconvnet")):
        assert all(line.agreement > 0.8 for line in found), found


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs_in_half_precision(name, precision, tmp_path):
    net, described = network(name), card(precision=precision)
    path = written(net, tmp_path / "model.pt2", described)
    found = compare(task_of(net, described), ExportedNetwork(path, "cpu"), shown(drawn_images(described, 4)))
    assert all(line.agreement > 0.5 for line in found), found
