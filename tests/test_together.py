"""What can be switched on is switched on at once, and still resumes exactly."""

import json

import pytest
import torch

from tests.command import assert_same_weights, run, weights, write_config

EVERYTHING = "{class_path: seg.averaging.EMA, init_args: {decay: 0.9}}"


def test_everything_together_resumes_exactly(workplace, shapes):
    model = {
        "net": {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2, "dropout": 0.2}},
        "mixing": {"class_path": "seg.mixing.CutMix"},
        "schedule": {"class_path": "seg.schedules.OneCycle"},
        "encoder_lr": 0.5,
        "lr_reference_batch": 8,
        "flood": 0.1,
    }
    data = {"batch_size": 2, "sampling": "balanced", "multi_scale": [0.5, 1.0]}
    config = write_config(
        workplace / "tiny.yaml", shapes, model=model, data=data, max_epochs=3, accumulate_grad_batches=4,
        gradient_clip_val=0.5, val_every_n_steps=2,
    )  # fmt: skip
    run("--config", config, "--trainer.callbacks", f"[{EVERYTHING}]")
    stop = "{class_path: tests.stopping.PressCtrlC, init_args: {step: 3}}"
    with pytest.raises(SystemExit):
        run("--config", config, "--trainer.callbacks", f"[{EVERYTHING}, {stop}]")
    whole, other = (workplace / f"runs/tiny/version_{number}" for number in (0, 1))
    last = other / "checkpoints/last.ckpt"
    run("--config", config, "--trainer.callbacks", f"[{EVERYTHING}]", "--ckpt_path", last)
    assert_same_weights(whole / "checkpoints/last.ckpt", last)
    assert (whole / "metrics.csv").read_text() == (other / "metrics.csv").read_text()


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_average_of_lightnings_stochastic_weight_averaging_is_kept_and_tested(workplace, shapes, capsys, norm):
    settings = "{swa_lrs: 0.01, swa_epoch_start: 1}"
    swa = f"{{class_path: pytorch_lightning.callbacks.StochasticWeightAveraging, init_args: {settings}}}"
    net = {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2, "norm": norm}}
    config = write_config(workplace / "tiny.yaml", shapes, model={"net": net}, max_epochs=3, check_val_every_n_epoch=3)
    run("--config", config, "--trainer.callbacks", f"[{swa}]")
    lines = capsys.readouterr().out.splitlines()
    tested = next(line for line in lines if line.startswith("test mIoU"))
    folder = workplace / "runs/tiny/version_0"
    assert any(line.startswith("checkpoint:") and line.endswith("swa.ckpt") for line in lines)
    held = torch.load(folder / "checkpoints/swa.ckpt", weights_only=True)
    [state] = [state for name, state in held["callbacks"].items() if "StochasticWeightAveraging" in name]
    for name, value in state["average_model_state"].items():
        if name.endswith("weight"):
            torch.testing.assert_close(held["state_dict"][name], value)
    run("test", "--ckpt_path", folder / "checkpoints/swa.ckpt", "--trainer.callbacks", "null")
    assert tested in capsys.readouterr().out
    run("test", "--ckpt_path", folder / "checkpoints/best.ckpt", "--trainer.callbacks", "null")
    assert tested not in capsys.readouterr().out
    assert json.loads((folder / "records/test.json").read_text())["checkpoint"] == "best.ckpt"


def test_the_average_is_kept_and_tested_where_a_run_goes_on_close_to_its_end_or_at_it(workplace, shapes, capsys):
    net = {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2, "norm": "group"}}
    config = write_config(workplace / "tiny.yaml", shapes, model={"net": net}, max_epochs=2)
    settings = "{swa_lrs: 0.01, swa_epoch_start: 1}"
    swa = f"{{class_path: pytorch_lightning.callbacks.StochasticWeightAveraging, init_args: {settings}}}"
    stop = "{class_path: tests.stopping.PressCtrlC, init_args: {step: 5}}"
    run("--config", config, "--trainer.callbacks", f"[{swa}]")
    whole = weights(workplace / "runs/tiny/version_0/checkpoints/swa.ckpt")
    with pytest.raises(SystemExit):
        run("--config", config, "--trainer.callbacks", f"[{swa}, {stop}]")
    folder = workplace / "runs/tiny/version_1/checkpoints"
    for _ in range(2):
        capsys.readouterr()
        run("--config", config, "--trainer.callbacks", f"[{swa}]", "--ckpt_path", folder / "last.ckpt")
        assert "tested swa.ckpt" in capsys.readouterr().out
        found = weights(folder / "swa.ckpt")
        assert all(torch.equal(found[name], value) for name, value in whole.items())
