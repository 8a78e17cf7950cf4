import platform
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from seg.export.quantise import has_vnni, quantise
from seg.export.samples import drawn_images
from tests.export.networks_as_files import card, written
from tests.models.networks import NETWORKS


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return a U-Net in fp32 and in int8."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("int8")
    source = written(NETWORKS["unet"](depth=3).eval(), folder / "fp32.onnx", card())
    quantise(source, folder / "int8.onnx", drawn_images(card(), 2), card(precision="int8"))
    assert sorted(path.name for path in folder.iterdir()) == ["fp32.onnx", "int8.onnx"]
    return onnx.load(source), onnx.load(folder / "int8.onnx")


def test_convolutions_have_weights_of_8_bits_with_a_scale_a_channel_and_the_last_stays_in_float(models):
    exact, quantised = models
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    makers = {name: node for node in quantised.graph.node for name in node.output}
    convolutions = [node for node in quantised.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == sum(node.op_type == "Conv" for node in exact.graph.node)
    for node in convolutions[:-1]:
        weight = makers[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == (values[weight.input[0]].shape[0],)
        assert makers[node.input[0]].op_type == "DequantizeLinear"
    last = values[convolutions[-1].input[1]]
    assert last.dtype == np.float32


def test_weights_are_the_nearest_of_their_channel(models):
    exact, quantised = models
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    makers = {name: node for node in quantised.graph.node for name in node.output}
    first = next(node for node in quantised.graph.node if node.op_type == "Conv")
    weight = makers[first.input[1]]
    integers, scale = values[weight.input[0]], values[weight.input[1]].reshape(-1, 1, 1, 1)
    originals = {tensor.name: numpy_helper.to_array(tensor) for tensor in exact.graph.initializer}
    expected = originals[next(node for node in exact.graph.node if node.op_type == "Conv").input[1]]
    assert np.abs(integers * scale - expected).max() <= scale.max() / 2 * 1.001


def test_the_card_says_int8(models):
    properties = {entry.key: entry.value for entry in models[1].metadata_props}
    assert properties["seg.precision"] == '"int8"'


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux alone tells what a CPU can where torch does not")
def test_older_torch_versions_do_not_tell_what_the_cpu_can_and_linux_is_asked(monkeypatch):
    flags = set(Path("/proc/cpuinfo").read_text().split())
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    arm = platform.machine().lower() in ("aarch64", "arm64")
    assert has_vnni() == (arm or bool(flags & {"avx512_vnni", "avx_vnni"}))
