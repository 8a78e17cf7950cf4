"""docs/training.md: every block of YAML in it is understood by the command, and what it says of callbacks is run."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
import yaml

from seg.validation import ValidateEvery
from tests.command import REPOSITORY, run, write_config
from tests.test_sweeps import arguments

PAGE = (REPOSITORY / "docs/training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
OVERLAYS = [block for block in BLOCKS if "program:" not in block]
SWEEP = next(block for block in BLOCKS if "program:" in block)
CALLBACKS = [block for block in OVERLAYS if "pytorch_lightning" in block]


def leaves(settings: object, path: tuple = ()):
    """Yield the place and the value of all that a block sets."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            yield from leaves(value, (*path, name))
    elif isinstance(settings, list) and settings and isinstance(settings[0], dict):
        for number, value in enumerate(settings):
            yield from leaves(value, (*path, number))
    else:
        yield path, settings


def parsed(*words: str | Path) -> dict:
    """Return the config that a command would train with."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stopped:
        run(*words, "--print_config")
    assert stopped.value.code == 0
    return yaml.safe_load(printed.getvalue())


def test_the_page_has_blocks_and_none_is_passed_over():
    assert len(BLOCKS) == PAGE.count("```yaml") > 12
    assert PAGE.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", OVERLAYS, ids=lambda block: " ".join(re.findall(r"\w+", block))[:40])
def test_a_block_laid_over_a_shipped_config_sets_what_it_says(workplace, block, monkeypatch):
    # whether a teacher's file is there is another matter
    monkeypatch.setattr("seg.distillation.check_there", lambda path: None)
    Path("mine.yaml").write_text(block)
    config = parsed("--config", "shapes_unet", "--config", "mine.yaml")
    for path, expected in leaves(yaml.safe_load(block)):
        value = config
        for key in path:
            value = value[key]
        assert value == expected, path
    if steps := config["trainer"]["val_every_n_steps"]:
        ValidateEvery.settings(config["trainer"], steps)  # refuses another interval beside it


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, marks=pytest.mark.slow if "BatchSizeFinder" in block else ()) for block in CALLBACKS],
    ids=lambda block: re.findall(r"callbacks\.(\w+)", block)[0],
)
def test_the_callbacks_of_lightning_that_the_page_names_run(workplace, shapes, capsys, block):
    Path("mine.yaml").write_text(block.replace("max_trials: 6", "max_trials: 1"))
    run("--config", write_config(workplace / "tiny.yaml", shapes), "--config", "mine.yaml")
    assert "test mIoU" in capsys.readouterr().out
    written = torch.load("runs/tiny/version_0/checkpoints/last.ckpt", weights_only=True)["callbacks"]
    kinds = {kind.partition("{")[0] for kind in written}
    assert kinds & set(re.findall(r"callbacks\.(\w+)", block)) or "BatchSizeFinder" in block  # which has no state


def test_early_stopping_and_a_checkpoint_on_an_exception_do_what_they_are_for(workplace, shapes, capsys):
    settings = "{monitor: val/loss, min_delta: 9.0, patience: 1}"
    early = f"{{class_path: pytorch_lightning.callbacks.EarlyStopping, init_args: {settings}}}"
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=9)
    run("--config", config, "--trainer.callbacks", f"[{early}]")
    assert torch.load("runs/tiny/version_0/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
    keep = "{class_path: pytorch_lightning.callbacks.OnExceptionCheckpoint, init_args: {dirpath: crashed}}"
    with pytest.raises(SystemExit):
        run("--config", config, "--trainer.callbacks", f"[{keep}, {{class_path: tests.faults.OutOfMemory}}]")
    assert [path.name for path in Path("crashed").iterdir()] == ["on_exception.ckpt"]


def test_lightnings_finder_of_a_learning_rate_is_refused_with_the_command_that_finds_one(workplace, shapes, capsys):
    finder = "[{class_path: pytorch_lightning.callbacks.LearningRateFinder}]"
    with pytest.raises(SystemExit) as refused:
        run("--config", write_config(workplace / "tiny.yaml", shapes), "--trainer.callbacks", finder)
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "LearningRateFinder" in error
    assert "seg doctor run --only rate" in error
    assert "Traceback" not in error
    assert not list(workplace.glob("runs/tiny/*"))


def test_the_sweep_of_the_page_starts_a_command_that_exists():
    sweep = yaml.safe_load(SWEEP)
    shipped = yaml.safe_load((REPOSITORY / "configs/sweeps/camvid_unet.yaml").read_text())
    assert sweep.keys() <= shipped.keys()
    config = parsed(*arguments(sweep)[2:])
    assert config["trainer"]["logger"]["class_path"] == "seg.loggers.WandB"
    assert config["model"]["net"]["init_args"]["width"] == 8


@pytest.mark.slow
def test_a_trial_of_the_sweep_trains(workplace, shapes, capsys):
    small = ["--data.root", shapes, "--data.batch_size", "4", "--data.num_workers", "0", "--data.cache", "none"]
    small += ["--data.train_images", "12", "--data.val_images", "5", "--data.test_images", "5"]
    small += ["--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1", "--trainer.accelerator", "cpu"]
    run(*arguments(yaml.safe_load(SWEEP))[2:], *small)
    assert "test mIoU" in capsys.readouterr().out
    assert list(workplace.glob("runs/shapes_unet/version_0/wandb/offline-run-*"))


def test_the_commands_of_the_page_name_what_exists():
    named = re.findall(r"\[[^]]*\]\(([^)]+)\)", PAGE)
    assert named
    assert all((REPOSITORY / "docs" / path).exists() for path in named)
