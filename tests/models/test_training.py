"""Networks through the real command: compiled, deeply supervised, and in two processes."""

import pytest
import torch
import yaml

from seg.task import SegmentationTask
from tests.command import process, run, weights, write_config

NETWORKS = {
    "FCN": {"width": 2},
    "SegNet": {"width": 2},
    "SegNetBasic": {"width": 4},
    "DeconvNet": {"width": 2},
    "UNet": {"width": 4, "depth": 2},
    "DeepLabLargeFOV": {"width": 2},
    "DeepLabV3": {"encoder": "resnet18", "channels": 8, "auxiliary": True, "output_stride": 8},
    "DeepLabV3Plus": {"encoder": "resnet18", "channels": 8, "auxiliary": True},
}


def config(path, shapes, name: str, **trainer):
    net = {"class_path": f"seg.models.{name}", "init_args": NETWORKS[name]}
    return write_config(path, shapes, {"net": net}, {"crop": [32, 32], "augment": None}, **trainer)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("SegNet", id="SegNet")])
def test_a_compiled_run_leaves_a_checkpoint_that_loads_uncompiled(workplace, shapes, name, monkeypatch):
    compiled = []
    original = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda net: compiled.append(net) or original(net, backend="eager", fullgraph=True)
    )
    path = config(workplace / "net.yaml", shapes, name, max_epochs=1)
    run("--config", path, "--model.compile", "true")
    assert [type(net).__name__ for net in compiled] == [name]
    checkpoint = workplace / "runs/net/version_0/checkpoints/last.ckpt"
    assert not any("_orig_mod" in key for key in weights(checkpoint))
    run("test", "--config", path, "--ckpt_path", checkpoint)
    assert len(compiled) == 1  # testing does not compile


def test_a_negative_weight_of_auxiliary_heads_is_refused():
    with pytest.raises(ValueError, match="auxiliary_weight: -1, but a factor of 0 or more"):
        SegmentationTask(torch.nn.Identity(), [], [], [0.0], [1.0], auxiliary_weight=-1)


@pytest.mark.slow
def test_inductor_compiles_a_run(workplace, shapes):
    path = config(workplace / "net.yaml", shapes, "UNet", max_epochs=1)
    done = process("--config", path, "--model.compile", "true")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_two_processes_train_without_unused_parameters(workplace, shapes, name):
    # "ddp" fails at the second step if a parameter got no gradient in the first.
    path = config(workplace / "net.yaml", shapes, name, max_epochs=2)
    described = yaml.safe_load(path.read_text())
    described["data"]["init_args"]["batch_size"] = 1
    path.write_text(yaml.safe_dump(described))
    done = process("--config", path, "--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_steps", "3")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (workplace / "runs/net/version_0/checkpoints/last.ckpt").is_file()
