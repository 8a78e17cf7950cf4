"""`seg doctor run` as users type it: what it prints, writes, leaves alone, and refuses."""

import json
import subprocess
import sys

import pytest
import torch

from seg.doctor import command
from seg.doctor.run import CHECKS
from tests.command import REPOSITORY, write_config
from tests.doctor.test_command import Page

QUICK = "labels,schedule,augmentation,shapes,input,loss"


def doctor(*words: object) -> int:
    """Run `seg doctor run …` in this process; return its exit status."""
    with pytest.raises(SystemExit) as ended:
        command.main(["run", *(str(word) for word in words)])
    return int(ended.value.code or 0)


@pytest.fixture
def config(workplace, shapes):
    return write_config(workplace / "mine.yaml", shapes)


def files(folder) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_healthy_config_ends_with_0_and_leaves_page_pictures_and_json_alone(config, workplace, shapes, capsys):
    before = files(shapes)
    assert doctor("--config", config, "--only", QUICK, "--json", "found.json") == 0
    out = capsys.readouterr().out
    assert "6 pass, 0 warn, 0 fail" in out
    pictures = {f"runs/doctor/mine/{name}" for name in ("run.html", "schedule.png", "augmentation.png")}
    assert files(workplace) == {"mine.yaml", "found.json", *pictures}
    assert files(shapes) == before
    report = json.loads((workplace / "found.json").read_text())
    assert report["verdict"] == "pass"
    assert [finding["check"] for finding in report["findings"]] == QUICK.split(",")
    assert report["figures"]["schedule"]["steps"] == 6
    page = Page((workplace / "runs/doctor/mine/run.html").read_text())
    assert not page.open
    assert all(reference.startswith("data:") for reference in page.references)
    assert "fit to be trained" in page.said


def test_a_run_that_looks_for_its_batch_size_is_examined_like_any_other(config, capsys):
    finder = "[{class_path: pytorch_lightning.callbacks.BatchSizeFinder, init_args: {max_trials: 2}}]"
    assert doctor("--config", config, "--only", "schedule,gradients", "--trainer.callbacks", finder) == 0
    assert "6 optimiser steps" in capsys.readouterr().out


def test_a_fault_ends_with_1_its_reason_and_its_cure(config, capsys):
    assert doctor("--config", config, "--only", "input", "--data.mean", "[0, 0, 0]", "--data.std", "[1, 1, 1]") == 1
    out = capsys.readouterr().out
    assert "FAIL  input" in out
    assert "→" in out


def test_checks_can_be_left_out_and_misspelt_ones_are_named(config, workplace, capsys):
    everything = ",".join(CHECKS)
    assert doctor("--config", config, "--only", "labels,input", "--skip", "input", "--out", "there") == 0
    out = capsys.readouterr().out
    assert "labels" in out
    assert "input" not in out
    assert files(workplace / "there") == {"run.html"}
    assert doctor("--config", config, "--only", "overfitt") == 2
    assert "did you mean overfit?" in capsys.readouterr().err
    assert doctor("--config", config, "--skip", everything) == 2
    assert "leave no check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give a config"),
        (["--config", "nowhere.yaml"], "nowhere"),
        (["--config", "mine.yaml", "--data.root", "nowhere"], "no folder"),
        (["--config", "mine.yaml", "--model.net.widht", "4"], "width"),
        (["--config", "mine.yaml", "--seconds", "-3"], "seconds above 0"),
        (["--config", "mine.yaml", "--seconds", "nan"], "seconds above 0"),
    ],
)
def test_mistakes_are_told_without_a_traceback(config, capsys, words, message):
    status = doctor(*words)
    said = capsys.readouterr()
    assert message in said.err + said.out
    assert "Traceback" not in said.err
    assert status == (1 if message == "no folder" else 2)


def test_callbacks_that_write_or_need_a_logger_are_left_out_and_others_work(config, workplace, shapes):
    names = {"ModelCheckpoint": {"dirpath": "elsewhere"}, "LearningRateMonitor": {}, "EMAWeightAveraging": {}}
    callbacks = [{"class_path": f"pytorch_lightning.callbacks.{n}", "init_args": a} for n, a in names.items()]
    path = write_config(workplace / "more.yaml", shapes, callbacks=callbacks)
    assert doctor("--config", path, "--only", "gradients,schedule", "--trainer.fast_dev_run", "true") == 0
    assert files(workplace) == {"mine.yaml", "more.yaml", "runs/doctor/more/run.html", "runs/doctor/more/schedule.png"}


def test_a_cache_on_the_disk_is_not_begun(config, shapes):
    before = files(shapes)
    assert doctor("--config", config, "--only", "shapes,augmentation", "--data.cache", "disk") == 0
    assert files(shapes) == before


def test_weights_that_cannot_be_downloaded_are_told_and_the_rest_is_examined(config, monkeypatch, capsys):
    def nowhere(url: str, *_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", nowhere)
    monkeypatch.setenv("TORCH_HOME", "nothing_here")
    net = ["--model.net", "seg.models.DeepLabV3", "--model.net.encoder", "resnet18", "--model.net.weights", "imagenet"]
    assert doctor("--config", config, *net, "--only", "schedule") == 0
    out = capsys.readouterr().out
    assert "WARN  weights" in out
    assert "pass  schedule" in out


def test_a_command_without_time_says_so_and_passes_nothing(config, capsys):
    assert doctor("--config", config, "--only", "rate,overfit", "--seconds", "0.001") == 0
    out = capsys.readouterr().out
    assert "SKIP  rate" in out
    assert "0 pass" in out
    assert "nothing was looked at" in out


@pytest.mark.slow
def test_the_whole_examination_runs_as_a_process_of_its_own(workplace):
    words = ["--data.root", "shapes", "--data.train_images", "24", "--data.val_images", "8", "--data.test_images", "8"]
    ran = subprocess.run(
        [sys.executable, "-m", "seg", "doctor", "run", "--config", REPOSITORY / "configs" / "shapes_unet.yaml", *words],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    assert all(f"pass  {name}" in ran.stdout or f"SKIP  {name}" in ran.stdout for name in CHECKS), ran.stdout
    assert {path.name for path in (workplace / "runs").iterdir()} == {"doctor"}
