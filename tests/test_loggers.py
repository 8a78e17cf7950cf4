import csv
import sys

import pytest

from seg.loggers import CSV
from seg.loggers.wandb import has_credentials
from tests.command import run, write_config


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_values_of_one_step_share_a_row_and_new_columns_are_added(tmp_path):
    logger = CSV(tmp_path / "run")
    logger.log_metrics({"train/loss": 2.0, "epoch": 0}, step=0)
    logger.save()
    logger.log_metrics({"val/miou": 0.5}, step=0)
    logger.log_metrics({"train/loss": 1.0, "epoch": 1}, step=1)
    logger.finalize("success")
    assert rows(logger.path) == [
        {"step": "0", "epoch": "0", "train/loss": "2.0", "val/miou": "0.5"},
        {"step": "1", "epoch": "1", "train/loss": "1.0", "val/miou": ""},
    ]


def test_reopening_appends_and_drops_the_rows_that_a_resumed_run_makes_again(tmp_path):
    logger = CSV(tmp_path)
    for step in range(5):
        logger.log_metrics({"train/loss": float(step)}, step=step)
    logger.finalize("failed")
    again = CSV(tmp_path)
    again.begin(3)
    again.log_metrics({"train/loss": 30.0}, step=3)
    again.finalize("success")
    assert [(row["step"], row["train/loss"]) for row in rows(again.path)] == [
        ("0", "0.0"),
        ("1", "1.0"),
        ("2", "2.0"),
        ("3", "30.0"),
    ]
    assert again.series() == {"train/loss": [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 30.0)]}


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


def test_a_wandb_run_without_credentials_is_kept_offline_beside_the_csv_and_says_how_to_sync(
    workplace, shapes, capsys, monkeypatch
):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(workplace / "none"))
    run(
        "--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1), "--trainer.logger", "seg.loggers.WandB"
    )
    folder = workplace / "runs/tiny/version_0"
    assert (folder / "metrics.csv").is_file()
    assert list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert (folder / "wandb_id").read_text()
    assert "wandb sync runs/tiny/version_0/wandb/offline-run-*" in capsys.readouterr().out
    sys.modules["wandb"].finish()


@pytest.mark.parametrize("missing", ["finalize", "log_metrics"])
def test_only_the_first_process_writes(missing):
    assert hasattr(getattr(CSV, missing), "__wrapped__")
