import numpy as np
import pytest

from seg.loggers import CSV
from tests.loggers.settings import rows


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


@pytest.mark.parametrize(
    "end",
    ["\0" * 40, "1,0,0.", "1,0,0.5\n" + "\0" * 4096, "\0\0\n1,0", "x,0,1\n", "\ufffd,,\n", '1,0,"0.5\n0.4\n'],
)
def test_what_a_power_loss_leaves_at_the_end_of_the_numbers_does_not_stop_a_resume(tmp_path, end):
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss\n0,0,1.0\n" + end)
    logger = CSV(tmp_path)
    logger.begin(1)
    logger.log_metrics({"train/loss": 0.25, "epoch": 0}, step=1)
    logger.finalize("success")
    assert rows(logger.path) == [
        {"step": "0", "epoch": "0", "train/loss": "1.0"},
        {"step": "1", "epoch": "0", "train/loss": "0.25"},
    ]
    assert logger.series() == CSV(tmp_path).series() == {"train/loss": [(0.0, 1.0), (1.0, 0.25)]}


def test_a_picture_or_table_that_cannot_be_written_is_said_and_nothing_ends(tmp_path, monkeypatch):
    picture = np.zeros((2, 2, 3), np.uint8)
    logger = CSV(tmp_path)
    for key in ("写" * 300, "x" * 300, "x" * 301):
        logger.picture(key, picture, 0)
        logger.table(key, ["a"], [["\ud800"]], 0)
    assert len(list((tmp_path / "pictures").iterdir())) == len(list((tmp_path / "tables").iterdir())) == 3
    (tmp_path / "pictures/full.png").mkdir()
    (tmp_path / "tables/full.csv").mkdir()
    with pytest.warns(UserWarning, match=r"full.png cannot be written"):
        logger.picture("full", picture, 0)
    with pytest.warns(UserWarning, match=r"full.csv cannot be written"):
        logger.table("full", ["a"], [[1]], 0)
