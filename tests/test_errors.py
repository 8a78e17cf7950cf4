import errno
import os
from pathlib import Path

import pytest

from seg.errors import message_for_user, told
from tests.command import REPOSITORY, process, run, write_config


def test_a_full_gpu_says_what_to_lower_with_the_values_of_the_run(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, precision="32", accumulate_grad_batches=3)
    with pytest.raises(SystemExit) as stopped:
        run("--config", config, "--trainer.callbacks", "[{class_path: tests.faults.OutOfMemory}]")
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "CUDA out of memory. Tried to allocate 2.00 GiB." in error
    assert "data.batch_size is 4: 2 with trainer.accumulate_grad_batches: 6" in error
    assert "data.crop is [64, 64]" in error
    assert "trainer.precision is 32-true: bf16-mixed" in error
    assert "Traceback" not in error


def test_a_worker_that_is_killed_is_told_with_the_cure(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, data={"num_workers": 2, "batch_size": 1})
    killed = process(
        "--config", config, "--trainer.callbacks", "[{class_path: tests.faults.KillWorker}]", PYTHONPATH=str(REPOSITORY)
    )
    assert killed.returncode == 2, killed.stderr
    assert "lower data.num_workers" in killed.stderr
    assert "Traceback" not in killed.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EFBIG])
def test_a_full_or_read_only_disk_is_told_wherever_it_is_met(number):
    told = message_for_user(OSError(number, "no room", "curves.png"), training=True)
    assert told is not None
    assert "cannot write curves.png: no room" in told
    assert "--trainer.default_root_dir" in told


def test_commands_that_do_not_train_name_no_setting_of_the_trainer():
    died = RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed")
    full = OSError(errno.EFBIG, "File too large")  # of a write: it bears no name
    for error in (died, full, OSError(errno.ENOSPC, "full", "a.png"), OSError(errno.EACCES, "denied", "a.png")):
        told, while_training = message_for_user(error), message_for_user(error, training=True)
        assert told is not None
        assert while_training is not None
        assert "--" not in told
        assert "--" in while_training


def test_whatever_else_a_disk_says_of_a_file_is_told_with_its_name():
    assert message_for_user(OSError(errno.EIO, "Input/output error", "curves.png")) == "curves.png: Input/output error"
    renaming = OSError(errno.EISDIR, "Is a directory", ".curves.1.tmp.png", None, "curves.png")
    assert message_for_user(renaming) == "curves.png: Is a directory"
    assert message_for_user(OSError("nothing known")) is None


def test_a_file_that_this_user_may_not_touch_is_named_wherever_it_is_met():
    told = message_for_user(OSError(errno.EACCES, "Permission denied", "runs/a/version_0/metrics.csv"), training=True)
    assert told is not None
    assert told.startswith("runs/a/version_0/metrics.csv: Permission denied; ")
    assert "--trainer.default_root_dir" in told


def test_a_run_folder_that_may_not_be_written_is_told_before_a_resumed_run_begins(
    workplace, shapes, capsys, monkeypatch
):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config)
    before = {path: path.stat().st_mtime_ns for path in workplace.rglob("*")}
    may = os.access  # what root is told of a folder that is only marked read-only
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "checkpoints" and may(path, mode))
    with pytest.raises(SystemExit) as stopped:
        run("--config", config, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "error: runs/tiny/version_0: a resumed run goes on in its folder, which this user may not write" in error
    assert "Traceback" not in error
    assert {path: path.stat().st_mtime_ns for path in workplace.rglob("*")} == before


def test_other_errors_keep_their_traceback():
    assert message_for_user(RuntimeError("something else")) is None


def test_ctrl_c_ends_a_command_in_a_line_and_is_left_to_training_to_handle(capsys):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        told(interrupted)
    assert stopped.value.code == 130
    assert "stopped: files that were finished stay" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        told(interrupted, training=True)
