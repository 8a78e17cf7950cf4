"""What the tests share: one thread, a folder of their own to run in, a tiny data set that they draw themselves."""

import os
from pathlib import Path

# before numpy and torch start their threads: two workers beside a test must not fight for the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a small Shapes tree once: 12 images to train on, 5 to validate, 5 to test."""
    from seg.data.shapes import write_tree

    root = tmp_path_factory.mktemp("data") / "shapes"
    write_tree(root, seed=0, train=12, val=5, test=5)
    return root


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run a test in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
