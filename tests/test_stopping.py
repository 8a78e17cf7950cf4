import csv
from pathlib import Path

import pytest
import torch

from tests.command import assert_same_weights, run, write_config

PRESS = "{{class_path: tests.faults.Signal, init_args: {{step: {}, number: {}}}}}"
DROPOUT = {"net": {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2, "dropout": 0.2}}}
MIXING = {**DROPOUT, "mixing": {"class_path": "seg.mixing.CutMix"}}


def rows(folder: Path, *names: str) -> list[tuple[str, ...]]:
    with (folder / "metrics.csv").open() as file:
        return [tuple(row.get(name) or "" for name in ("step", *names)) for row in csv.DictReader(file)]


def stop_and_go_on(config: Path, *steps: int) -> tuple[Path, Path]:
    """Train once in one go, once with a Ctrl-C in each of some steps; return both run folders."""
    run("--config", config)
    going_on = []
    for step in steps:
        with pytest.raises(SystemExit) as stopped:
            run("--config", config, "--trainer.callbacks", f"[{PRESS.format(step, 2)}]", *going_on)
        assert stopped.value.code == 130
        folder = Path("runs/tiny/version_1")
        assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == step
        going_on = ["--ckpt_path", folder / "checkpoints/last.ckpt"]
    run("--config", config, *going_on)
    return Path("runs/tiny/version_0"), folder


@pytest.mark.parametrize(
    ("model", "data", "trainer", "steps"),
    [
        (MIXING, {"multi_scale": [0.75, 1.0], "sampling": "balanced"}, {"accumulate_grad_batches": 2}, [2, 8]),
        pytest.param(DROPOUT, {"cache": "ram", "num_workers": 2}, {}, [1, 8, 10], marks=pytest.mark.slow),
        pytest.param(DROPOUT, {"num_workers": 2, "sampling": "balanced"}, {}, [5], marks=pytest.mark.slow),
        pytest.param(MIXING, {"num_workers": 2}, {"accumulate_grad_batches": 4}, [1, 3, 5], marks=pytest.mark.slow),
        pytest.param(DROPOUT, {}, {"val_check_interval": 2}, [2, 5, 8], marks=pytest.mark.slow),
        pytest.param(DROPOUT, {}, {"logger": {"class_path": "seg.loggers.WandB"}}, [2, 8], marks=pytest.mark.slow),
    ],
)
def test_a_run_stopped_at_any_step_ends_with_the_weights_of_the_uninterrupted_one(
    workplace, shapes, model, data, trainer, steps
):
    data = {"batch_size": 2, **data}
    whole, stopped = stop_and_go_on(
        write_config(workplace / "tiny.yaml", shapes, model=model, data=data, max_epochs=3, **trainer), *steps
    )
    for name in ("last", "best"):
        assert_same_weights(whole / f"checkpoints/{name}.ckpt", stopped / f"checkpoints/{name}.ckpt")
    assert rows(whole, "train/loss", "val/miou") == rows(stopped, "train/loss", "val/miou")
