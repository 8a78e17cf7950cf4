"""What the tests of `seg predict` share: a network that was trained for an epoch, and photos of noise."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command import run, write_config


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, shapes) -> Path:
    """Train on the small Shapes tree."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config, "--trainer.default_root_dir", folder / "runs")
    return folder / "runs/tiny/version_0/checkpoints/best.ckpt"


def photo(path: Path, height: int = 50, width: int = 70, orientation: int = 1, seed: int = 0) -> Path:
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path
