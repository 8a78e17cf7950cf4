from tests.command import run, write_config


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


def test_a_fit_of_no_epochs_does_not_say_that_it_tested(workplace, shapes, capsys):
    run("--config", write_config(workplace / "tiny.yaml", shapes, max_epochs=0))
    assert "tested" not in capsys.readouterr().out
