"""Every network through torch's ONNX exporter with free batch, height and width, run by ONNX Runtime."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.networks import NETWORKS, without_chance

DEFAULT = ("segnet", "deeplabv3plus")
"""Those that are exported in the default tests, one with indices and one with interpolation."""


@pytest.mark.parametrize(
    "name", [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
def test_onnx_runtime_agrees_at_sizes_that_the_export_never_saw(name, tmp_path: Path):
    import onnxruntime

    torch.manual_seed(0)
    net = without_chance(NETWORKS[name]()).eval()
    free = torch.export.Dim.DYNAMIC
    path = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its versions
        torch.onnx.export(
            net,
            (torch.randn(2, 3, 96, 160),),
            path,
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: free, 2: free, 3: free},),
            input_names=["images"],
            output_names=["logits"],
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 64, 96), (2, 3, 67, 71), (3, 3, 97, 133)):
        images = torch.randn(shape)
        (logits,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            expected = net(images).numpy()
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
