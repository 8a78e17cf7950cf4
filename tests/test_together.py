"""What can be switched on is switched on at once, and still resumes exactly."""

import pytest

from tests.command import assert_same_weights, run, write_config

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
