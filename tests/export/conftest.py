from pathlib import Path

import pytest

from seg.export.command import export
from tests.command import run, write_config


@pytest.fixture(scope="session")
def trained(tmp_path_factory, shapes) -> Path:
    """Return the checkpoint of a tiny network, in its run folder."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder / "tiny.yaml", shapes, max_epochs=2)
    run("--config", config, "--trainer.default_root_dir", folder / "runs")
    return folder / "runs/tiny/version_0/checkpoints/best.ckpt"


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory, trained) -> Path:
    """Return the checkpoint's network as ONNX."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export(trained, path)
    return path


@pytest.fixture(scope="session")
def package(tmp_path_factory, trained) -> Path:
    """Return the checkpoint's network as a torch.export package of probabilities."""
    path = tmp_path_factory.mktemp("package") / "model.pt2"
    export(trained, path, output="probabilities")
    return path
