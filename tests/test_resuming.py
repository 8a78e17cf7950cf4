"""Going on from the end of an epoch, where steps limit the run."""

import pytest

from tests.command import assert_same_weights, run, write_config


def test_a_run_limited_by_steps_goes_on_from_the_end_of_an_epoch_as_if_it_had_not_stopped(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=-1, max_steps=8)
    run("--config", config)
    # 3 batches an epoch
    stop = "[{class_path: tests.stopping.PressCtrlC, init_args: {step: 3}}]"
    with pytest.raises(SystemExit):
        run("--config", config, "--trainer.callbacks", stop)
    whole, other = (workplace / f"runs/tiny/version_{number}" for number in (0, 1))
    run("--config", config, "--ckpt_path", other / "checkpoints/last.ckpt")
    assert_same_weights(whole / "checkpoints/last.ckpt", other / "checkpoints/last.ckpt")
    assert (whole / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
