"""Every network through every export, compared with PyTorch in fp32."""

import pytest
import torch
from torch import nn

from seg.export.parity import compare, holds
from seg.export.quantise import quantise
from seg.export.runtime import ExportedNetwork
from seg.export.samples import at_three_sizes, drawn_images
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
