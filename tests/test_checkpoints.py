import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from seg.checkpoints import BestCheckpoint, is_whole
from seg.files import replacing, sweep
from tests.command import REPOSITORY, assert_same_weights, process, run, write_config

CHECKPOINTS = Path("runs/tiny/version_0/checkpoints")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "empty": b"",
            "truncated": content[:middle],
            "garbage": random.Random(0).randbytes(len(content)),
            "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        }[how]
    )


def test_a_damaged_last_checkpoint_is_said_and_the_one_before_taken(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=3)
    run("--config", config)
    shutil.copytree(CHECKPOINTS, "kept")
    whole = torch.load(CHECKPOINTS / "last.ckpt", weights_only=True)
    for how in ("empty", "truncated", "garbage", "one bit"):
        shutil.copytree("kept", CHECKPOINTS, dirs_exist_ok=True)
        damage(CHECKPOINTS / "last.ckpt", how)
        assert not is_whole(CHECKPOINTS / "last.ckpt")
        capsys.readouterr()
        if how == "empty":
            run("--config", config, "--ckpt_path", "last")
            assert "going on from the one before" in capsys.readouterr().out
            again = torch.load(CHECKPOINTS / "last.ckpt", weights_only=True)
            assert again["global_step"] == whole["global_step"]
            assert all(torch.equal(value, again["state_dict"][name]) for name, value in whole["state_dict"].items())
            assert is_whole(CHECKPOINTS / "last-previous.ckpt")
    with pytest.raises(SystemExit) as refused:
        run("--config", config, "--ckpt_path", CHECKPOINTS / "last.ckpt")
    assert refused.value.code == 2
    assert f"give {CHECKPOINTS}/last-previous.ckpt or {CHECKPOINTS}/best.ckpt" in capsys.readouterr().err
    for name in ("last-previous", "best"):
        damage(CHECKPOINTS / f"{name}.ckpt", "truncated")
    with pytest.raises(SystemExit) as refused:
        run("--config", config, "--ckpt_path", "last")
    assert refused.value.code == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["truncated", "gone"])
def test_a_job_that_is_started_again_goes_on_from_the_one_before_a_damaged_checkpoint(
    workplace, shapes, capsys, monkeypatch, how
):
    for name, value in {"JOB_ID": "12", "JOB_NAME": "train", "NTASKS": "1", "RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    config = write_config(workplace / "tiny.yaml", shapes)
    run("--config", config)
    if how == "gone":
        (CHECKPOINTS / "last.ckpt").unlink()
    else:
        damage(CHECKPOINTS / "last.ckpt", how)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    capsys.readouterr()
    run("--config", config)
    assert f"going on from the one before, {CHECKPOINTS}/last-previous.ckpt" in capsys.readouterr().out
    assert torch.load(CHECKPOINTS / "last.ckpt", weights_only=True)["global_step"] == 6
    assert not list(Path("runs/tiny").glob("version_1"))


def test_a_full_disk_ends_with_one_message_and_leaves_whole_checkpoints(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=3)
    limit = "{class_path: tests.faults.SmallFiles, init_args: {step: 5, size: 20000}}"
    failed = process("--config", config, "--trainer.callbacks", f"[{limit}]", PYTHONPATH=str(REPOSITORY))
    assert failed.returncode == 2, failed.stderr
    assert "cannot write the checkpoint" in failed.stderr
    assert "File too large" in failed.stderr
    assert "the one that is there stays whole" in failed.stderr
    assert "Traceback" not in failed.stderr
    for name in ("last", "best"):
        assert torch.load(CHECKPOINTS / f"{name}.ckpt", weights_only=True)["global_step"] == 3
    assert not list(CHECKPOINTS.glob(".*"))
    finished = process("--config", config, "--ckpt_path", "last")
    assert finished.returncode == 0, finished.stderr


def test_best_scores_survive_a_move_of_the_run_folder(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "best.ckpt").write_bytes(b"there")
    callback = BestCheckpoint(old)
    callback.best_model_score = callback.kth_value = torch.tensor(0.7)
    callback.best_model_path = callback.kth_best_model_path = str(old / "best.ckpt")
    callback.best_k_models = {str(old / "best.ckpt"): torch.tensor(0.7)}
    state = callback.state_dict()
    elsewhere = BestCheckpoint(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="dirpath has changed"):
        elsewhere.load_state_dict(state)
    assert elsewhere.best_model_score is None
    old.rename(new)
    moved = BestCheckpoint(new)
    moved.load_state_dict(state)
    assert moved.best_model_score == pytest.approx(0.7)
    assert moved.best_model_path == moved.kth_best_model_path == str(new / "best.ckpt")
    assert moved.best_k_models == {str(new / "best.ckpt"): torch.tensor(0.7)}
    assert moved.state_key.startswith("ModelCheckpoint{")


def test_temporary_files_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f".last.{ended.pid}.tmp.ckpt", f".metrics.{os.getppid()}.tmp.csv", ".note.tmp", "last.ckpt"):
        (tmp_path / name).write_text("x")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f".metrics.{os.getppid()}.tmp.csv", ".note.tmp", "last.ckpt"]
    )
    with replacing(tmp_path / "last.ckpt") as temporary:
        assert temporary.name.endswith(f".{os.getpid()}.tmp.ckpt")
        temporary.write_text("y")


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_run_that_is_killed_again_and_again_always_goes_on_and_ends_as_if_nothing_had_been(workplace, shapes, kills):
    """Kill the real command at random moments, many of them in the midst of a save, and go on each time."""
    chance = random.Random(kills)
    slow = "{class_path: tests.faults.SlowSave, init_args: {seconds: 0.15}}"
    save = "{class_path: seg.stopping.LastCheckpoint, init_args: {every_n_steps: 1}}"
    epochs = 2 + kills // 3
    config = write_config(
        workplace / "tiny.yaml", shapes, max_epochs=epochs, check_val_every_n_epoch=epochs, callbacks=None
    )
    command = [sys.executable, str(REPOSITORY / "train.py"), "--config", str(config)]
    command += ["--trainer.callbacks", f"[{slow}, {save}]"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    last, in_a_save, steps = CHECKPOINTS / "last.ckpt", 0, []
    for number in range(kills):
        there = ["--ckpt_path", "last"] if last.exists() else []
        before = last.stat().st_mtime_ns if there else 0
        with open(f"log_{number}", "w") as log:
            started = subprocess.Popen([*command, *there], stdout=log, stderr=log, env=environment)
            # not before the run writes, so that kills fall among steps and saves instead of among imports
            deadline = time.monotonic() + 120
            while started.poll() is None and not writing(last, before, started.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.5))
            if started.poll() is not None:
                assert started.returncode == 0, Path(f"log_{number}").read_text()
                break
            started.send_signal(signal.SIGKILL)
            started.wait()
        in_a_save += bool(list(CHECKPOINTS.glob(f".*.{started.pid}.tmp*")))
        assert len(list(CHECKPOINTS.glob(".*.tmp*"))) <= 1, "temporary files pile up"
        if last.exists():
            assert is_whole(last)
            steps.append(torch.load(last, weights_only=True)["global_step"])
    assert steps == sorted(steps)
    assert in_a_save or kills < 10
    # the last part of it, and the run that nothing happened to
    subprocess.run([*command, "--ckpt_path", "last"], check=True, env=environment, capture_output=True)
    assert not list(CHECKPOINTS.glob(".*"))
    shutil.move("runs/tiny/version_0", "killed")
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert_same_weights(Path("killed/checkpoints/last.ckpt"), last)
    # a kill between a save and the line of numbers that follows it loses that line, and no other
    assert numbers("killed") <= numbers("runs/tiny/version_0")
    assert len(numbers("runs/tiny/version_0") - numbers("killed")) <= max(1, kills // 3)


def numbers(folder: str) -> set[str]:
    """Return the steps in a run's metrics.csv, none of which may be there twice."""
    steps = [line.split(",")[0] for line in Path(folder, "metrics.csv").read_text().splitlines()[1:]]
    assert len(set(steps)) == len(steps)
    return set(steps)


def writing(last: Path, before: int, pid: int) -> bool:
    """Tell whether a process has begun to write checkpoints, and the run has one."""
    if not last.exists():
        return False
    return bool(list(last.parent.glob(f".*.{pid}.tmp*"))) or last.stat().st_mtime_ns != before
