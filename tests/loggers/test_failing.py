"""Training never depends on a logger."""

import json
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from lightning_utilities.core.rank_zero import rank_zero_only

from seg.loggers import CSV, TensorBoard, WandB
from seg.loggers.wandb import has_credentials
from tests.command import process, run, write_config
from tests.loggers.settings import both, rows
from tests.wandb_api import api_that_dies
from tests.wandb_file import OfflineRun


def test_credentials_are_looked_for_without_asking_anyone(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_credentials()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password key")
    (tmp_path / "netrc").chmod(0o600)
    assert has_credentials()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not has_credentials()


def test_a_run_goes_on_where_neither_wandb_nor_tensorboard_is_installed(workplace, shapes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1, logger=both()))
    folder = workplace / "runs/tiny/version_0"
    assert rows(folder / "metrics.csv")[-1]["test/miou"]
    assert not (folder / "wandb").exists()
    said = capsys.readouterr().out
    assert said.count("wandb is not installed") == 1, "once"
    assert said.count("tensorboard is not installed") == 1


class Failing:
    """A run, or writer, of which every use fails."""

    id = "failing"

    def __getattr__(self, name):
        raise ConnectionError("the line is dead")


@pytest.mark.parametrize(("logger", "attribute"), [(WandB(offline=True), "run"), (TensorBoard(), "writer")])
def test_a_logger_that_fails_says_so_once_and_is_silent_from_then_on(logger, attribute, tmp_path, capsys):
    logger.place(tmp_path)
    setattr(logger, attribute, Failing())
    picture = np.zeros((2, 2, 3), np.uint8)
    for step in range(3):
        logger.log_metrics({"a": 1.0}, step)
        logger.record({"a": 1}, {})
        logger.picture("a", picture, step)
        logger.table("a", ["x"], [[1.0]], step)
        logger.finalize("success")
    logger.close()
    assert capsys.readouterr().out.count("the line is dead; the run goes on without it") == 1


def test_wandb_out_of_reach_keeps_the_run_offline(tmp_path, monkeypatch, capsys):
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    begun, init = [], wandb.init

    def unreachable(**options):
        begun.append(options["mode"])
        if options["mode"] == "online":
            raise wandb.errors.CommError("no route to host")
        return init(**options)

    monkeypatch.setattr(wandb, "init", unreachable)
    logger = WandB(project="tests")
    logger.place(tmp_path / "run" / "version_0")
    logger.log_metrics({"a": 1.0}, 0)
    logger.close()
    assert begun == ["online", "offline"]
    assert "not reachable (no route to host)" in capsys.readouterr().out
    [folder] = (tmp_path / "run/version_0/wandb").glob("offline-run-*")
    assert OfflineRun(folder).history["a"] == [(0, 1.0)]
    logger.log_metrics({"a": 2.0}, 1)  # closed: no second run begins
    assert len(list((tmp_path / "run/version_0/wandb").glob("offline-run-*"))) == 1


def test_a_wandb_that_never_comes_to_its_end_is_not_waited_for(tmp_path, monkeypatch, capsys):
    ended, release = [], threading.Event()
    monkeypatch.setattr("seg.loggers.wandb.GRACE", 0.2)
    monkeypatch.setattr("seg.loggers.wandb.end_service", lambda: ended.append(True))
    logger = WandB(offline=True, finish_timeout=0.1)
    logger.place(tmp_path)
    logger.run, logger.owned = SimpleNamespace(dir="wandb/run-abc/files", finish=lambda exit_code: release.wait()), True
    begin = time.monotonic()
    logger.close()
    assert time.monotonic() - begin < 5
    assert ended == [True]
    release.set()
    assert "wandb sync wandb/run-abc\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="finish_timeout: 0, but"):
        WandB(finish_timeout=0)


def test_what_wandb_says_at_its_end_is_told(tmp_path, capsys):
    def late(exit_code):
        raise TimeoutError("Timed out finishing run.")

    def broken(exit_code):
        raise ConnectionError("the line is dead")

    for finish, said in (
        (late, "nothing is lost, upload the rest with: wandb sync"),
        (broken, "WandB: the line is dead"),
    ):
        logger = WandB(offline=True)
        logger.place(tmp_path)
        logger.run, logger.owned = SimpleNamespace(dir="wandb/run-abc/files", finish=finish), True
        logger.close()
        assert said in capsys.readouterr().out


@pytest.mark.slow
def test_a_connection_that_dies_in_a_run_ends_it_within_its_time_with_its_last_line(workplace, shapes):
    logger = {"class_path": "seg.loggers.WandB", "init_args": {"project": "tests", "finish_timeout": 5}}
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1, logger=logger)
    with api_that_dies() as (address, gone):
        settings = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
        begin = time.monotonic()
        done = process("--config", config, "--json", **settings)
        assert time.monotonic() - begin < 120
        assert gone.is_set(), "the run had begun online"
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["scores"]["miou"] is not None
    [kept] = Path("runs/tiny/version_0/wandb").glob("run-*/*.wandb")
    assert re.search(rf"wandb sync \S*{kept.parent}\n", done.stderr)


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    for logger in (CSV(tmp_path), WandB(offline=True), TensorBoard()):
        logger.place(tmp_path)
        logger.begin(3)
        logger.log_metrics({"a": 1.0}, 0)
        logger.record({"a": 1}, {"b": 2})
        logger.picture("a", np.zeros((2, 2, 3), np.uint8), 0)
        logger.table("a", ["x"], [[1.0]], 0)
        logger.keep(tmp_path / "none.ckpt")
        logger.finalize("success")
        logger.close()
    assert list(tmp_path.iterdir()) == []
