import csv
import signal
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import Callback

from seg.replay import replay
from seg.stopping import LastCheckpoint
from tests.command import REPOSITORY, assert_same_weights, process, run, weights, write_config
from tests.fitting import built, fit

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


@pytest.mark.parametrize("fails", [False, True])
def test_signals_are_left_as_they_were_after_a_fit_that_ends_and_after_one_that_fails(workplace, shapes, fails):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    if fails:
        with pytest.raises(ValueError, match="broken on purpose"):
            run("--config", config, "--trainer.callbacks", "[{class_path: tests.test_stopping.Breaks}]")
    else:
        run("--config", config)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


class Breaks(Callback):
    """Fail in the second step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 1:
            raise ValueError("broken on purpose")


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


def test_sigterm_waits_for_the_accumulated_batches_of_a_step(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, data={"batch_size": 2}, accumulate_grad_batches=3)
    run("--config", config)
    stop = PRESS.format(3, 15)
    stopped = process("--config", config, "--trainer.callbacks", f"[{stop}]", PYTHONPATH=str(REPOSITORY))
    assert stopped.returncode == 130, stopped.stderr
    assert "go on with the same command" in stopped.stdout
    last = Path("runs/tiny/version_1/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 3
    run("--config", config, "--ckpt_path", last)
    assert_same_weights(Path("runs/tiny/version_0/checkpoints/last.ckpt"), last)


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step_whichever_is_asked(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, data={"batch_size": 2}, devices=2, strategy="ddp")
    path = {"PYTHONPATH": str(REPOSITORY)}
    assert process("--config", config, **path).returncode == 0
    for rank, number in ((0, 2), (1, 2), (0, 15)):
        stop = PRESS.format(2, number)[:-2] + f", rank: {rank}}}}}"
        stop += ", {class_path: tests.faults.SlowPage}" * (number == rank + 2)
        stopped = process("--config", config, "--trainer.callbacks", f"[{stop}]", **path)
        folder = sorted(Path("runs/tiny").iterdir())[-1]
        assert stopped.returncode == 130, stopped.stderr
        assert stopped.stdout.count("go on with the same command") == 1
        assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
        finished = process("--config", config, "--ckpt_path", folder / "checkpoints/last.ckpt", **path)
        assert finished.returncode == 0, finished.stderr
        assert_same_weights(Path("runs/tiny/version_0/checkpoints/last.ckpt"), folder / "checkpoints/last.ckpt")


@pytest.mark.slow
def test_two_processes_leave_out_the_same_step_where_one_has_a_bad_batch(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, data={"batch_size": 2}, devices=2, strategy="ddp")
    bad = "{class_path: tests.faults.Poison, init_args: {steps: [2], rank: 1}}"
    done = process("--config", config, "--trainer.callbacks", f"[{bad}]", PYTHONPATH=str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the step is left out") == 1
    assert "seg replay runs/tiny/version_0/failures/step_2_rank_1.pt" in done.stdout  # the other one is innocent
    folder = Path("runs/tiny/version_0")
    assert all(value.isfinite().all() for value in weights(folder / "checkpoints/last.ckpt").values())
    kept = sorted(path.name for path in (folder / "failures").iterdir())
    assert kept == ["step_2.ckpt", "step_2_rank_0.pt", "step_2_rank_1.pt"]
    good, bad = (replay(folder / f"failures/step_2_rank_{rank}.pt") for rank in (0, 1))
    assert not any(place.wrong for place in good.places)
    assert any(place.wrong for place in bad.places)


def test_a_run_goes_on_without_wandb_when_that_dies(workplace, shapes, monkeypatch):
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # that of this process, of tests before
    config = write_config(workplace / "tiny.yaml", shapes, logger={"class_path": "seg.loggers.WandB"})
    kill = "[{class_path: tests.faults.KillWandB}]"
    done = process("--config", config, "--trainer.callbacks", kill, PYTHONPATH=str(REPOSITORY))
    assert Path("killed").exists()
    assert done.returncode == 0, done.stderr
    assert "test mIoU" in done.stdout


def test_steps_that_are_due_are_saved_on_several_gpus_too_where_time_and_signals_wait(monkeypatch):
    monkeypatch.setattr("seg.stopping.strongest", lambda trainer, wish: wish)
    strategy = SimpleNamespace(root_device=torch.device("cuda"))
    steps = range(1, 22)

    def saved(**settings) -> list[int]:
        stopping = LastCheckpoint(**settings)
        stopping.saved_at -= 3600
        trainers = (SimpleNamespace(world_size=2, strategy=strategy, global_step=step) for step in steps)
        return [step for step, trainer in zip(steps, trainers, strict=True) if stopping.wishes(trainer)]

    assert saved(every_minutes=None, every_n_steps=7) == [7, 14, 21]
    assert saved(every_minutes=1.0) == [10, 20]
    assert saved(every_minutes=1.0, every_n_steps=7) == [7, 10, 14, 20, 21]


def test_no_checkpoint_is_written_in_front_of_a_validation_that_comes_by_the_clock():
    class Order(LastCheckpoint):
        seen: list = []  # noqa: RUF012

        def save(self, trainer):
            self.seen.append(("saved", trainer.global_step))

    class Validated(Callback):
        def on_validation_end(self, trainer, task):
            Order.seen.append(("validated", trainer.global_step))

    fit(built(), callbacks=(Order(every_n_steps=2), Validated()), max_steps=5, val_check_interval=timedelta(0))
    assert Order.seen[:6] == [
        ("validated", 1),
        ("validated", 2),
        ("saved", 2),
        ("validated", 3),
        ("validated", 4),
        ("saved", 4),
    ]


@pytest.mark.parametrize("settings", [{"every_minutes": 0}, {"every_n_steps": -1}])
def test_an_interval_that_is_not_positive_is_refused(settings):
    with pytest.raises(ValueError, match="must be positive"):
        LastCheckpoint(**settings)
