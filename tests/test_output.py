import json
import math

import pytest
import torch

from seg.output import Output, described, taken
from tests.command import process, run, write_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shapes):
    """Train once with --json in a process of its own; return its output and where it ran."""
    place = tmp_path_factory.mktemp("output")
    config = write_config(place / "tiny.yaml", shapes, max_epochs=1)
    done = process("--config", config, "--json", "--trainer.default_root_dir", place / "runs")
    assert done.returncode == 0, done.stderr
    return place, done


def test_json_is_the_only_line_on_stdout_and_holds_scores_and_paths(trained):
    place, done = trained
    [line] = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["command"], found["split"], found["steps"], found["epochs"]) == ("fit", "test", 3, 1)
    assert found["run"] == str(place / "runs/tiny/version_0")
    for name in ("checkpoint", "last_checkpoint", "config", "metrics"):
        assert found[name].startswith(found["run"])
    scores = found["scores"]
    known = [value for value in scores["iou"].values() if value is not None]
    assert scores["miou"] == pytest.approx(sum(known) / len(known))
    assert len(scores["iou"]) == 8
    assert 0 <= found["best_val_miou"] <= 1
    assert "test mIoU" in done.stderr, "the table is for people, and there"


def test_the_json_of_a_test_says_what_the_fit_said(trained, capsys):
    place, done = trained
    fitted = json.loads(done.stdout)
    run("test", "--config", place / "tiny.yaml", "--ckpt_path", fitted["checkpoint"], "--json", "--quiet")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["scores"] == fitted["scores"]
    assert json.loads(printed.out)["checkpoint"] == fitted["checkpoint"]
    assert printed.err == ""


def test_quiet_prints_the_final_line_alone(trained, capsys):
    place, done = trained
    checkpoint = json.loads(done.stdout)["checkpoint"]
    run("validate", "--quiet", "--config", place / "tiny.yaml", "--ckpt_path", checkpoint)
    printed = capsys.readouterr()
    [line] = printed.out.splitlines()
    assert line.startswith("val mIoU 0.")
    assert line.endswith(checkpoint)
    assert printed.err == ""


def test_errors_are_shown_however_quiet(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes)
    with pytest.raises(SystemExit) as ended:
        run("test", "--quiet", "--json", "--config", config, "--ckpt_path", "none.ckpt")
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "none.ckpt: there is no such file" in printed.err


def test_the_flags_are_taken_wherever_they_stand():
    argv, output = taken(["fit", "--json", "--config", "a", "--quiet"])
    assert argv == ["fit", "--config", "a"]
    assert (output.json, output.quiet) == (True, True)
    argv, output = taken(["fit"])
    assert (argv, output.json, output.quiet) == (["fit"], False, False)


def test_undefined_scores_are_null_and_matrices_stay_out():
    results = {
        "miou": torch.tensor(0.5),
        "iou": torch.tensor([0.5, math.nan]),
        "bins": torch.zeros(15),
        "confusion": torch.zeros(2, 2),
        "mean_f1": torch.tensor(math.nan),
    }
    assert described(results, ["a", "b"]) == {"miou": 0.5, "iou": {"a": 0.5, "b": None}, "mean_f1": None}
    assert described(None, ["a", "b"]) is None


def test_a_run_without_scores_still_ends_with_a_line(capsys):
    Output(quiet=True).finish("fit", {"split": "test", "scores": None, "checkpoint": None})
    assert capsys.readouterr().out == "done\n"
