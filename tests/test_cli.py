import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from seg.data.images import read_mask
from seg.task import SegmentationTask
from tests.command import REPOSITORY, SMALL, assert_same_weights, process, run, weights, write_config


def losses(run_folder: Path) -> list[str]:
    with (run_folder / "metrics.csv").open() as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row.get("train/loss")]


def test_one_command_leaves_a_whole_run_folder(workplace, shapes, capsys):
    run("--config", write_config(workplace / "tiny.yaml", shapes))
    folder = workplace / "runs" / "tiny" / "version_0"
    for name in ("config.yaml", "metrics.csv", "curves.png", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (folder / name).is_file(), name
    assert len(list((folder / "examples").glob("*.png"))) >= 2
    printed = capsys.readouterr().out
    assert "test mIoU" in printed
    assert "of 8 classes" in printed
    assert "runs/tiny/version_0/checkpoints/best.ckpt" in printed
    with (folder / "metrics.csv").open() as file:
        columns = csv.DictReader(file).fieldnames or []
    for name in ("val/miou", "val/pixel_accuracy", "val/mean_accuracy", "val/fw_iou", "test/miou", "lr/net"):
        assert name in columns, name


def test_a_checkpoint_loads_from_its_path_alone_with_weights_only(workplace, shapes):
    run("--config", write_config(workplace / "tiny.yaml", shapes))
    path = workplace / "runs/tiny/version_0/checkpoints/best.ckpt"
    assert torch.load(path, weights_only=True)["seg"]["format"] == 1
    task = SegmentationTask.load_from_checkpoint(path, weights_only=True)
    assert task(torch.zeros(1, 3, 40, 33, dtype=torch.uint8)).shape == (1, len(task.class_names), 40, 33)


def test_a_saved_config_runs_again_under_the_same_name(workplace, shapes):
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1))
    run("--config", workplace / "runs/tiny/version_0/config.yaml")
    first, second = (workplace / "runs" / "tiny" / f"version_{number}" for number in (0, 1))
    assert losses(first) == losses(second) != []
    assert_same_weights(first / "checkpoints/last.ckpt", second / "checkpoints/last.ckpt")


@pytest.mark.parametrize("epochs_before", [1, 2])
def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(workplace, shapes, epochs_before):
    model = {
        "net": {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2, "dropout": 0.2}},
        "schedule": {"class_path": "seg.schedules.Poly", "init_args": {"warmup": 2}},
    }
    config = write_config(workplace / "tiny.yaml", shapes, model=model, max_epochs=4)
    run("--config", config)
    stop = {"class_path": "tests.stopping.StopAfter", "init_args": {"steps": 3 * epochs_before}}
    run("--config", config, "--trainer.callbacks", f"[{yaml.safe_dump(stop, default_flow_style=True).strip()}]")
    stopped = workplace / "runs/tiny/version_1"
    assert torch.load(stopped / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3 * epochs_before
    run("--config", config, "--ckpt_path", "last")
    assert not (workplace / "runs/tiny/version_2").exists()
    assert_same_weights(workplace / "runs/tiny/version_0/checkpoints/last.ckpt", stopped / "checkpoints/last.ckpt")
    assert losses(workplace / "runs/tiny/version_0") == losses(stopped)


def test_ctrl_c_in_the_middle_of_an_epoch_leaves_a_checkpoint_that_resumes_exactly(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=3)
    run("--config", config)
    press = "[{class_path: tests.stopping.PressCtrlC, init_args: {step: 5}}]"
    with pytest.raises(SystemExit) as stopped:
        run("--config", config, "--trainer.callbacks", press)
    assert stopped.value.code == 130
    folder = workplace / "runs/tiny/version_1"
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    run("--config", config, "--ckpt_path", folder / "checkpoints/last.ckpt")
    assert_same_weights(workplace / "runs/tiny/version_0/checkpoints/last.ckpt", folder / "checkpoints/last.ckpt")
    assert losses(workplace / "runs/tiny/version_0") == losses(folder)


def test_validate_and_test_take_the_config_of_the_checkpoints_run(workplace, shapes, capsys):
    run("--config", write_config(workplace / "tiny.yaml", shapes))
    printed = capsys.readouterr().out
    checkpoint = workplace / "runs/tiny/version_0/checkpoints/best.ckpt"
    run("test", "--ckpt_path", checkpoint)
    tested = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.startswith("test mIoU"))
    assert line in tested
    run("validate", "--ckpt_path", checkpoint)
    assert "val mIoU" in capsys.readouterr().out
    assert [path.name for path in (workplace / "runs/tiny").iterdir()] == ["version_0"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model.net.widht", "8"], "width"),
        (["--trainer.max_epoch", "3"], "--trainer.max_epochs"),
        (["--model.shedule", "Poly"], "--model.schedule"),
        (["--data.bach_size", "3"], "batch_size"),
        (["--model.net", "seg.models.Unet"], "seg.models.UNet"),
    ],
)
def test_a_misspelt_key_is_refused_and_the_nearest_one_named(workplace, shapes, capsys, arguments, expected):
    config = write_config(workplace / "tiny.yaml", shapes)
    with pytest.raises(SystemExit) as refused:
        run("--config", config, *arguments)
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert f"did you mean {expected}?" in error
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize(
    ("path", "misspelt", "expected"),
    [
        (("model", "net", "init_args"), "widht", "width"),
        (("trainer",), "max_epoch", "trainer.max_epochs"),
        (("data", "init_args"), "bach_size", "batch_size"),
        ((), "modell", "model"),
    ],
)
def test_a_misspelt_key_in_yaml_is_refused_and_the_nearest_one_named(
    workplace, shapes, capsys, path, misspelt, expected
):
    file = write_config(workplace / "tiny.yaml", shapes)
    config = yaml.safe_load(file.read_text())
    branch = config
    for key in path:
        branch = branch[key]
    branch[misspelt] = 3
    file.write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as refused:
        run("--config", file)
    assert refused.value.code == 2
    assert f"did you mean {expected}?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--data.root", "photos"], ["--data", "photos"]])
def test_a_command_that_chooses_no_experiment_or_a_folder_as_one_is_told_what_to_give(workplace, capsys, arguments):
    (workplace / "photos").mkdir()
    with pytest.raises(SystemExit) as refused:
        run(*arguments)
    assert refused.value.code == 2
    cure = "--data.root photos, beside a --config" if "--data" in arguments else "--config shapes_unet"
    assert cure in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--data.classes", "leaf"), ("--data.crop", "64")])
def test_a_value_where_a_list_belongs_is_answered_with_a_list(workplace, shapes, capsys, option, value):
    with pytest.raises(SystemExit) as refused:
        run("--config", write_config(workplace / "tiny.yaml", shapes), option, value)
    assert refused.value.code == 2
    assert f"[{value},…]" in capsys.readouterr().err


def test_scoring_without_a_checkpoint_asks_for_one(workplace, capsys):
    with pytest.raises(SystemExit) as refused:
        run("test")
    assert refused.value.code == 2
    assert "give --ckpt_path RUN/checkpoints/best.ckpt" in capsys.readouterr().err


def test_an_unknown_config_lists_those_that_exist(workplace, capsys):
    with pytest.raises(SystemExit) as refused:
        run("--config", "shapes_unit")
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "Did you mean shapes_unet?" in error
    assert "camvid_unet" in error


def test_a_number_of_classes_typed_by_hand_must_agree_with_the_data(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes)
    with pytest.raises(SystemExit) as refused:
        run("--config", config, "--model.net.num_classes", "37")
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "37" in error
    assert "leave it out" in error
    assert not (workplace / "runs").exists()


def test_resuming_without_a_run_says_what_was_looked_for(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes)
    with pytest.raises(SystemExit) as refused:
        run("--config", config, "--ckpt_path", "last")
    assert refused.value.code == 2
    assert "no run of 'tiny' has a checkpoint" in capsys.readouterr().err


def test_training_stops_at_its_time_limit_and_the_schedule_has_reached_its_end(workplace, shapes):
    model = {"net": SMALL["model"]["net"], "schedule": {"class_path": "seg.schedules.Cosine"}}
    config = write_config(workplace / "tiny.yaml", shapes, model=model, max_epochs=None, max_time="00:00:00:04")
    run("--config", config)
    with (workplace / "runs/tiny/version_0/metrics.csv").open() as file:
        rates = [float(row["lr/net"]) for row in csv.DictReader(file) if row["lr/net"]]
    assert rates[0] == pytest.approx(1e-3, rel=0.2)
    assert rates[-1] < 2e-4


def test_the_last_step_has_the_end_rate_with_accumulated_batches_too(workplace, shapes):
    model = {"net": SMALL["model"]["net"], "schedule": {"class_path": "seg.schedules.Poly"}}
    config = write_config(workplace / "tiny.yaml", shapes, model=model, accumulate_grad_batches=2, max_epochs=2)
    run("--config", config)
    with (workplace / "runs/tiny/version_0/metrics.csv").open() as file:
        rates = [float(row["lr/net"]) for row in csv.DictReader(file) if row["lr/net"]]
    assert rates[0] == pytest.approx(1e-3)
    assert rates[-1] == 0.0


def test_a_run_folder_that_cannot_be_made_is_named_with_the_cure(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes)
    (workplace / "runs").write_text("a file where the folder should be")
    with pytest.raises(SystemExit) as refused:
        run("--config", config)
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "runs/tiny" in error
    assert "--trainer.default_root_dir" in error
    assert (workplace / "runs").read_text() == "a file where the folder should be"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_label_found_while_training_ends_with_one_message(workplace, shapes, capsys, workers):
    data = {"num_workers": workers, "classes": ["a", "b"], "colors": None, "check": False}
    config = write_config(workplace / "tiny.yaml", shapes, data=data)
    with pytest.raises(SystemExit) as refused:
        run("--config", config)
    assert refused.value.code == 2
    error = capsys.readouterr().err
    assert "label_map" in error
    assert "Traceback" not in error
    assert ".png" in error


def test_no_config_at_all_still_tells_what_is_missing(workplace):
    result = process("--data", "seg.data.Shapes")
    assert result.returncode == 2
    assert "net" in result.stderr
    assert "Traceback" not in result.stderr


def test_help_and_print_config_work(workplace):
    assert "--trainer.max_epochs" in process("--help").stdout
    printed = process("--config", "shapes_unet", "--print_config").stdout
    assert yaml.safe_load(printed)["data"]["class_path"] == "seg.data.Shapes"


def test_a_resume_that_does_not_fit_leaves_the_run_as_it_was(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config)
    saved = workplace / "runs/tiny/version_0/config.yaml"
    before = saved.read_text()
    with pytest.raises(SystemExit) as refused:
        run("--config", config, "--model.net.width", "8", "--ckpt_path", "last")
    assert refused.value.code == 2
    assert "does not fit" in capsys.readouterr().err
    assert saved.read_text() == before


def test_a_start_that_fails_leaves_no_empty_run_folder(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", workplace / "nowhere")
    with pytest.raises(SystemExit):
        run("--config", config)
    assert not list((workplace / "runs" / "tiny").iterdir())


def test_averaged_weights_are_tested_as_they_are_saved(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=3)
    average = "[{class_path: pytorch_lightning.callbacks.EMAWeightAveraging, init_args: {decay: 0.5}}]"
    run("--config", config, "--trainer.callbacks", average)
    first = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test mIoU"))
    run("test", "--ckpt_path", workplace / "runs/tiny/version_0/checkpoints/best.ckpt", "--trainer.callbacks", "null")
    assert first in capsys.readouterr().out


def test_a_run_without_validation_tests_its_last_weights_and_says_so(workplace, shapes, capsys):
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=1, check_val_every_n_epoch=5))
    printed = capsys.readouterr().out
    assert "test mIoU" in printed
    assert "tested last.ckpt" in printed


def test_a_missing_test_file_is_told_before_the_first_step(workplace, capsys):
    from seg.data.shapes import write_tree

    root = workplace / "own"
    write_tree(root, seed=1, train=6, val=2, test=2)
    name = (root / "ImageSets/Segmentation/test.txt").read_text().split()[0]
    (root / "JPEGImages" / f"{name}.jpg").unlink()
    with pytest.raises(SystemExit):
        run("--config", write_config(workplace / "tiny.yaml", root))
    captured = capsys.readouterr()
    assert f"{name}.jpg" in captured.err
    assert "step 1" not in captured.out


@pytest.mark.parametrize("arguments", [["test"], ["validate"]])
def test_scoring_asks_for_a_checkpoint_instead_of_scoring_random_weights(workplace, shapes, capsys, arguments):
    config = write_config(workplace / "tiny.yaml", shapes)
    with pytest.raises(SystemExit):
        run(*arguments, "--config", config)
    assert "--ckpt_path" in capsys.readouterr().err


def test_a_seed_of_the_data_is_its_own_and_otherwise_that_of_the_run(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config, "--seed_everything", "3")
    run("--config", config, "--seed_everything", "3", "--data.seed", "3")
    run("--config", config, "--seed_everything", "3", "--data.seed", "4")
    seen = [losses(workplace / "runs/tiny" / f"version_{number}") for number in range(3)]
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups of this kind")
def test_ctrl_c_at_a_terminal_reaches_workers_that_are_not_forked_and_still_saves(workplace, shapes):
    data = {"num_workers": 2, "multiprocessing_context": "forkserver"}
    config = write_config(workplace / "tiny.yaml", shapes, data=data, max_epochs=500)
    started = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "train.py"), "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    lines = []
    for line in started.stdout:
        lines.append(line)
        if "step 7 " in line:
            os.killpg(started.pid, signal.SIGINT)
            break
    lines += started.stdout.readlines()
    assert started.wait(120) == 130, "".join(lines)
    assert sum("stopping after this step" in line for line in lines) == 1
    assert "go on with the same command" in "".join(lines)
    assert torch.load(workplace / "runs/tiny/version_0/checkpoints/last.ckpt", weights_only=True)["global_step"] >= 7


def test_further_metrics_are_options_of_training_and_of_testing(workplace, shapes, capsys):
    wanted = "[{class_path: seg.boundary.BoundaryIoU, init_args: {width: 0.05}}, seg.calibration.CalibrationError]"
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    run("--config", config, "--model.extra_metrics", wanted, "--model.include_background", "false")
    folder = workplace / "runs/tiny/version_0"
    first = capsys.readouterr().out
    assert "boundary IoU" in first
    assert "calibration_error" in first
    assert "\nbackground" not in first
    with (folder / "metrics.csv").open() as file:
        columns = csv.DictReader(file).fieldnames or []
    assert {"val/mean_boundary_iou", "val/calibration_error", "test/mean_boundary_iou"} <= set(columns)
    saved = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    assert saved["extra_metrics"][0]["class_path"] == "seg.boundary.BoundaryIoU"
    assert saved["extra_metrics"][0]["init_args"]["width"] == 0.05

    task = SegmentationTask.load_from_checkpoint(folder / "checkpoints/best.ckpt", weights_only=True)
    assert task.evaluation("val").extra[0].width == 0.05
    run("test", "--ckpt_path", folder / "checkpoints/best.ckpt", "--model.extra_metrics", "null")
    assert "boundary IoU" not in capsys.readouterr().out


def test_balanced_weights_come_from_the_training_split_are_printed_and_stored_and_no_later_command_counts_again(
    workplace, capsys
):
    from seg.data.shapes import NAMES, write_tree
    from seg.losses import balance

    root = workplace / "own"
    write_tree(root, seed=1, train=6, val=2, test=2)
    loss = {"class_path": "seg.losses.CrossEntropy", "init_args": {"class_weights": "auto"}}
    run("--config", write_config(workplace / "tiny.yaml", root, model={"loss": loss}, max_epochs=1))
    printed = capsys.readouterr().out

    pixels, images = torch.zeros(len(NAMES), dtype=torch.int64), torch.zeros(len(NAMES), dtype=torch.int64)
    for name in (root / "ImageSets/Segmentation/train.txt").read_text().split():
        mask = torch.from_numpy(read_mask(root / f"SegmentationClass/{name}.png")).flatten()
        counts = torch.bincount(mask, minlength=256)[: len(NAMES)]
        pixels, images = pixels + counts, images + (counts > 0) * len(mask)
    expected = balance(pixels, images, "median_frequency")
    listed = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(NAMES, expected.tolist(), strict=True))
    assert f"class_weights: {listed}" in printed
    best = workplace / "runs/tiny/version_0/checkpoints/best.ckpt"
    assert torch.equal(weights(best)["loss.class_weights"], expected)

    for name in (root / "ImageSets/Segmentation/train.txt").read_text().split():
        (root / f"SegmentationClass/{name}.png").unlink()
    run("test", "--ckpt_path", best)
    assert "test mIoU" in capsys.readouterr().out
