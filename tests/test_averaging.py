import pytest
import torch

from seg.averaging import EMA
from seg.finetuning import FreezeEncoder
from seg.guard import Guard
from tests.command import assert_same_weights, process, run, weights, write_config
from tests.fitting import Data, Steps, built, fit

AVERAGE = "[{class_path: seg.averaging.EMA, init_args: {decay: 0.6, norm_batches: 2}}]"


class Weights(Steps):
    """Keep the head's weight after every optimiser step."""

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_step > len(self.rates) - 1:
            self.kept = [*getattr(self, "kept", []), module.net.head.weight.detach().double().clone()]


@pytest.mark.parametrize("ramp", [False, True])
def test_the_average_is_that_of_its_formula_and_what_training_ends_with(ramp):
    made, kept = built(), Weights()
    fit(made, callbacks=(kept, EMA(0.8, ramp)), max_epochs=1)
    expected = kept.kept[0]
    for step, weight in enumerate(kept.kept[1:], start=2):
        decay = min(0.8, (1 + step) / (10 + step)) if ramp else 0.8
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(made.net.head.weight.double(), expected, atol=1e-6)
    assert torch.equal(made.pixels.mean.flatten(), torch.tensor([120.0, 110.0, 100.0]))


def test_a_step_that_the_guard_leaves_out_does_not_move_the_average():
    class Bad(Steps):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 3:
                batch["image"] = batch["image"].float()
                batch["image"][0] = 3e38

    made, kept = built(), Weights()
    fit(made, callbacks=(kept, Guard(), Bad(), EMA(0.8, ramp=False)), max_epochs=1)
    expected = kept.kept[0]
    for step, weight in enumerate(kept.kept[1:], start=2):
        if step != 4:
            expected = 0.8 * expected + 0.2 * weight
    assert torch.equal(kept.kept[3], kept.kept[2])
    assert torch.allclose(made.net.head.weight.double(), expected, atol=1e-6)


def test_norms_measured_anew_are_those_of_the_average_on_training_images():
    class Validated(Steps):
        def on_validation_batch_end(self, trainer, module, *args):
            self.state = {name: value.clone() for name, value in module.state_dict().items()}

    made, data, seen = built(), Data(), Validated()
    fit(made, data, callbacks=(EMA(0.5, norm_batches=7), seen), max_epochs=1)
    images = torch.stack([sample["image"] for sample in data.samples])
    weight = seen.state["net.encoder.0.weight"].double().flatten(1)
    maps = torch.einsum("oc,bchw->bohw", weight, made.normalize(images).double())
    assert torch.allclose(seen.state["net.encoder.1.running_mean"].double(), maps.mean((0, 2, 3)), atol=1e-4)


def test_norms_of_a_frozen_encoder_are_not_measured_anew():
    made = built()
    norm = made.net.encoder[1]
    norm.running_mean.fill_(7.0)
    fit(made, callbacks=(EMA(0.5, norm_batches=7), FreezeEncoder()), max_epochs=1)
    assert torch.equal(norm.running_mean, torch.full((4,), 7.0))


def test_an_averaged_run_tests_what_it_saves_and_resumes_to_the_bit(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=4)
    run("--config", config, "--trainer.callbacks", AVERAGE)
    tested = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("test mIoU"))
    whole = workplace / "runs/tiny/version_0/checkpoints"
    run("test", "--ckpt_path", whole / "best.ckpt", "--trainer.callbacks", "null")
    assert tested in capsys.readouterr().out
    stop = AVERAGE[:-1] + ", {class_path: tests.stopping.PressCtrlC, init_args: {step: 5}}]"
    with pytest.raises(SystemExit):
        run("--config", config, "--trainer.callbacks", stop)
    other = workplace / "runs/tiny/version_1/checkpoints"
    run("--config", config, "--trainer.callbacks", AVERAGE, "--ckpt_path", other / "last.ckpt")
    assert_same_weights(whole / "last.ckpt", other / "last.ckpt")
    current = [torch.load(path / "last.ckpt", weights_only=True)["current_model_state"] for path in (whole, other)]
    assert all(torch.equal(current[0][name], current[1][name]) for name in weights(whole / "last.ckpt"))


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_weights_of_other_types_are_averaged_or_refused(workplace, shapes, capsys, precision):
    config = write_config(workplace / "tiny.yaml", shapes, max_epochs=1)
    settings = ["--config", config, "--trainer.callbacks", AVERAGE, "--trainer.precision", precision]
    if precision == "64-true":
        run(*settings)
        held = weights(workplace / "runs/tiny/version_0/checkpoints/best.ckpt")
        assert held["net.classifier.weight"].dtype == torch.float64
        return
    with pytest.raises(SystemExit):
        run(*settings)
    assert "set bf16-mixed" in capsys.readouterr().err


def test_weights_that_are_counted_for_the_loss_are_there_before_the_copy(workplace, shapes, capsys):
    loss = {"class_path": "seg.losses.CrossEntropy", "init_args": {"class_weights": "auto"}}
    config = write_config(workplace / "tiny.yaml", shapes, model={"loss": loss}, max_epochs=1)
    run("--config", config, "--trainer.callbacks", AVERAGE)
    assert capsys.readouterr().out.count("class_weights: background") == 1
    held = torch.load(workplace / "runs/tiny/version_0/checkpoints/last.ckpt", weights_only=True)
    for state in (held["state_dict"], held["current_model_state"]):
        assert len(state["loss.class_weights"]) == 8


@pytest.mark.slow
def test_two_processes_average_with_an_optimiser_of_their_own(workplace, shapes):
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9}}
    config = write_config(workplace / "tiny.yaml", shapes, model={"optimizer": optimizer}, devices=2, max_epochs=1)
    result = process("--config", config, "--trainer.callbacks", AVERAGE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "test mIoU" in result.stdout


@pytest.mark.parametrize("settings", [{"decay": 1.0}, {"decay": -0.1}, {"norm_batches": -1}])
def test_impossible_averages_are_refused(settings):
    with pytest.raises(ValueError, match=r"EMA.decay, norm_batches"):
        EMA(**settings)
