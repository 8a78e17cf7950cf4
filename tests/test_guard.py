import csv
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from seg.guard import Guard, flattened, restore
from seg.spikes import Spikes
from tests.command import assert_same_weights, run, weights, write_config
from tests.fitting import BATCHES, Data, built, fit

NET = {"net": {"class_path": "seg.models.UNet", "init_args": {"width": 4, "depth": 2, "dropout": 0.2}}}
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}


def poison(steps: list[int], **settings: str) -> str:
    named = "".join(f", {name}: {value}" for name, value in settings.items())
    return f"{{class_path: tests.faults.Poison, init_args: {{steps: {steps}{named}}}}}"


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "failures").iterdir()) if (folder / "failures").exists() else []


def test_a_step_that_is_not_finite_is_left_out_and_training_goes_on(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes, model=NET)
    run("--config", config, "--trainer.callbacks", f"[{poison([2, 5])}]")
    folder = Path("runs/tiny/version_0")
    printed = capsys.readouterr().out
    assert "step 2: the loss is" in printed
    assert "seg replay runs/tiny/version_0/failures/step_5.pt" in printed
    assert "left out, not finite: 2, 5" in printed
    assert all(value.isfinite().all() for value in weights(folder / "checkpoints/last.ckpt").values())
    assert kept(folder) == ["step_2.ckpt", "step_2.pt", "step_5.ckpt", "step_5.pt"]
    with (folder / "metrics.csv").open() as file:
        losses = [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 6


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_left_out_changes_neither_weights_nor_moments_nor_batch_statistics(workplace, shapes, accumulate):
    config = write_config(
        workplace / "tiny.yaml", shapes, data={"batch_size": 2}, max_epochs=1, accumulate_grad_batches=accumulate
    )
    save = "{class_path: seg.stopping.LastCheckpoint, init_args: {every_n_steps: 1}}"
    for steps in ([], [2]):
        run("--config", config, "--trainer.max_steps", "2", "--trainer.callbacks", f"[{poison(steps)}, {save}]")
    with pytest.raises(AssertionError):
        assert_same_weights(*(Path(f"runs/tiny/version_{number}/checkpoints/last.ckpt") for number in (0, 1)))
    run("--config", config, "--trainer.max_steps", "1")
    whole, failed = (
        torch.load(f"runs/tiny/version_{number}/checkpoints/last.ckpt", weights_only=True) for number in (2, 1)
    )
    assert failed["global_step"] == whole["global_step"] + 1 == 2
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, failed["state_dict"][name]), name
    before, after = (held["optimizer_states"][0]["state"] for held in (whole, failed))
    assert before.keys() == after.keys() != set()
    for number, moments in before.items():
        for name, value in moments.items():
            assert torch.equal(value, after[number][name]), name


def test_after_too_many_failures_in_a_row_or_when_asked_to_the_run_stops_with_one_message(workplace, shapes, capsys):
    config = write_config(workplace / "tiny.yaml", shapes)
    guard = "{class_path: seg.guard.Guard, init_args: {patience: 2, keep: 1}}"
    with pytest.raises(SystemExit) as stopped:
        run("--config", config, "--trainer.callbacks", f"[{poison([2], what='weight')}, {guard}]")
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert "step 3: the loss is" in captured.err
    assert "2th" not in captured.err
    assert "2 failures in a row" in captured.err
    assert "Traceback" not in captured.err
    assert kept(Path("runs/tiny/version_0")) == ["step_2.ckpt", "step_2.pt"]
    with pytest.raises(SystemExit) as stopped:
        run(
            "--config",
            config,
            "--trainer.callbacks",
            f"[{poison([1])}, {guard.replace('patience: 2', 'action: stop')}]",
        )
    assert stopped.value.code == 2
    assert "version_1/failures/step_1.pt" in capsys.readouterr().err


def test_finite_runs_are_the_same_with_and_without_the_guard(workplace, shapes):
    config = write_config(workplace / "tiny.yaml", shapes, model=NET, max_epochs=1)
    run("--config", config)
    run("--config", config, "--trainer.callbacks", "[{class_path: tests.faults.NoGuard}]")
    assert_same_weights(*(Path(f"runs/tiny/version_{number}/checkpoints/last.ckpt") for number in (0, 1)))


@pytest.mark.parametrize("settings", [{"action": "warn"}, {"patience": 0}, {"keep": -1}])
def test_settings_of_the_guard_that_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Guard(**settings)


def test_buffers_come_back_as_they_were_whatever_their_types():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4))
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    flat = flattened(net.buffers())
    net(torch.full((2, 3, 8, 8), torch.nan))
    assert net[1].running_mean.isnan().all()
    restore(net.buffers(), flat)
    for name, buffer in net.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_a_jump_of_the_loss_is_a_spike_once_and_scatter_is_not():
    generator, spikes = np.random.default_rng(0), Spikes()
    usual = generator.normal(0.5, 0.05, 400)
    assert not any(spikes.observe(loss) for loss in usual)
    assert spikes.observe(2.0) == pytest.approx(np.median(usual[-50:]))
    assert spikes.observe(2.1) is None
    assert spikes.observe(0.5) is None
    assert spikes.observe(1.5) is not None


def test_the_losses_that_spikes_are_told_from_are_the_means_of_the_accumulated_batches():
    class Logged(Callback):
        losses: list = []  # noqa: RUF012

        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            if (batch_idx + 1) % 4 == 0 or batch_idx == BATCHES - 1:
                self.losses.append(float(trainer.callback_metrics["train/loss"]))

    data, guard = Data(), Guard()
    for index, sample in enumerate(data.samples):  # the first batch has few valid pixels, those behind it many
        sample["mask"][: max(0, 7 - index)] = 255
    fit(built(), data, callbacks=(guard, Logged()), max_epochs=2, accumulate_grad_batches=4)
    assert len(Logged.losses) == 4
    assert list(guard.spikes.losses) == pytest.approx(Logged.losses, rel=1e-5)


def test_a_failure_that_cannot_be_kept_on_a_full_disk_is_said_and_training_goes_on(
    workplace, shapes, capsys, monkeypatch
):
    config = write_config(workplace / "tiny.yaml", shapes, model={"optimizer": SGD}, precision="32")
    write, (soft, hard) = Guard.write, resource.getrlimit(resource.RLIMIT_FSIZE)

    def without_room(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, hard))  # enough for the weights, not for a batch
        try:
            return write(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(Guard, "write", without_room)
    run("--config", config, "--trainer.callbacks", f"[{poison([2])}]")
    printed = capsys.readouterr().out
    assert "step 2: its batch could not be kept: " in printed
    assert "File too large" in printed
    assert "test mIoU" in printed
    assert kept(Path("runs/tiny/version_0")) == ["step_2.ckpt"]


def test_the_first_losses_and_falling_ones_are_no_spikes():
    spikes = Spikes()
    assert not any(spikes.observe(loss) for loss in (5.0, 90.0, 3.0))
    assert not any(spikes.observe(3 * 0.99**step) for step in range(300))
