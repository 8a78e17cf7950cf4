"""How tests drive the real command, in this process or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from seg.cli import main
from seg.data import Shapes

REPOSITORY = Path(__file__).resolve().parent.parent

SMALL = {
    "model": {"net": {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2}}},
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "log_every_n_steps": 1},
}


def write_config(path: Path, root: Path, model: dict | None = None, data: dict | None = None, **trainer) -> Path:
    """Write a config that trains a tiny U-Net on the small Shapes tree."""
    described = Shapes(root="unused")
    config = {
        "model": {**SMALL["model"], **(model or {})},
        "data": {
            "class_path": "seg.data.VOC",
            "init_args": {
                "root": str(root),
                "classes": described.class_names,
                "colors": described.class_colors,
                "batch_size": 4,
                "crop": [64, 64],
                "num_workers": 0,
                **(data or {}),
            },
        },
        "trainer": {**SMALL["trainer"], **trainer},
    }
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def run(*arguments: str | Path) -> None:
    """Run `python train.py …` in this process."""
    main([str(argument) for argument in arguments], default="fit")


def process(*arguments: str | Path, timeout: float = 300, **environment: str) -> subprocess.CompletedProcess:
    """Run `python train.py …` in a process of its own and return what it printed."""
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "train.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        # W&B's process of the tests that ran in this one before is none of a user's
        env={**{name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}, **environment},
        timeout=timeout,
    )


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a checkpoint holds."""
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def assert_same_weights(first: Path, second: Path) -> None:
    """Compare the weights of two checkpoints bit for bit."""
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, different
