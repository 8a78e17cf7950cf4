import time
import warnings
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import Timer

from seg import jobs
from seg import trainer as trainers
from seg.checkpoints import AtomicCheckpointIO
from seg.models import SMP
from seg.trainer import SyncBatchNorm, Trainer, TrainingTimer, resolve_precision, several_gpus


@pytest.mark.parametrize(
    ("capabilities", "expected"), [({"avx512_bf16": True}, "bf16-mixed"), ({"avx2": True}, "32"), ({}, "32")]
)
def test_auto_precision_on_a_cpu_asks_what_the_cpu_can(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert resolve_precision() == expected


def test_versions_of_torch_that_do_not_tell_are_asked_around(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(trainers.Path, "read_text", lambda *args, **options: "flags : avx2 avx512_bf16 vaes")
    assert "avx512_bf16" in trainers.cpu_capabilities()

    def unreadable(*args, **options):
        raise OSError

    monkeypatch.setattr(trainers.Path, "read_text", unreadable)
    assert trainers.cpu_capabilities() == set()


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16-mixed"), (False, "16-mixed")])
def test_auto_precision_on_a_gpu_takes_bf16_only_where_it_is_real(monkeypatch, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert resolve_precision("auto") == expected


def test_the_trainer_takes_what_auto_resolves_to_and_what_is_given(monkeypatch):
    monkeypatch.setattr(trainers, "resolve_precision", lambda accelerator: "bf16-mixed")
    assert Trainer(accelerator="cpu", logger=False).precision == "bf16-mixed"
    assert Trainer(accelerator="cpu", logger=False, precision="32").precision == "32-true"


@pytest.mark.parametrize(("wanted", "products", "convolutions"), [(True, "high", "tf32"), (False, "highest", "ieee")])
def test_tf32_is_one_switch_for_products_and_convolutions_and_warns_of_nothing(wanted, products, convolutions):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.conv.fp32_precision
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainers.use_tf32(wanted)
        assert torch.get_float32_matmul_precision() == products
        assert torch.backends.cudnn.conv.fp32_precision == convolutions
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.conv.fp32_precision = before[1]


def test_the_first_process_of_a_job_chooses_the_precision_of_all(monkeypatch):
    job = jobs.Job(1, 0, 1, 2, "", 0, "", 0)
    monkeypatch.setattr(jobs, "current", lambda num_nodes: job)
    monkeypatch.setattr(jobs, "agree", lambda asked, what, decide: "bf16-mixed" if asked == job else "32")
    monkeypatch.setattr(trainers, "resolve_precision", lambda accelerator: "32")
    assert Trainer(accelerator="cpu", logger=False).precision == "bf16-mixed"


def test_processes_that_would_each_train_alone_are_refused(monkeypatch):
    monkeypatch.setattr(jobs, "current", lambda num_nodes: jobs.Job(1, 1, 0, 2, "", 0, "torchrun mine", 0))
    with pytest.raises(ValueError, match=r"devices × trainer.num_nodes: 1 × 1, but 2 processes were started"):
        Trainer(accelerator="cpu", logger=False, precision="32")


def test_checkpoints_are_written_atomically_unless_another_writer_is_given():
    assert isinstance(Trainer(accelerator="cpu", logger=False).strategy.checkpoint_io, AtomicCheckpointIO)


def test_a_time_limit_is_kept_by_the_timer_that_leaves_validation_out():
    trainer = Trainer(accelerator="cpu", logger=False, max_time="00:00:12:00")
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]
    assert [type(timer) for timer in timers] == [TrainingTimer]
    assert timers[0].time_remaining() == 720
    assert trainer.max_epochs == -1


def test_validation_does_not_count_as_training_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    fit, timer = SimpleNamespace(sanity_checking=False), TrainingTimer(timedelta(seconds=60))

    def passes(seconds):
        now[0] += seconds

    timer.on_train_start(fit, None)
    passes(10)
    timer.on_validation_start(fit, None)
    passes(30)
    assert timer.time_elapsed() == 10
    timer.on_validation_end(fit, None)
    passes(5)
    assert timer.time_elapsed() == 15
    assert timer.time_remaining() == 45
    resumed = TrainingTimer(timedelta(seconds=60))
    resumed.load_state_dict(timer.state_dict())
    passes(1000)
    resumed.on_train_start(fit, None)
    passes(1)
    assert resumed.time_elapsed() == 16


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one_whole(tmp_path):
    path, writer = tmp_path / "last.ckpt", AtomicCheckpointIO()
    writer.save_checkpoint({"step": 1}, path)

    class Broken:
        def __reduce__(self):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        writer.save_checkpoint({"step": 2, "more": Broken()}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("auto", "auto", 1), True),
        (("cpu", 2, 1), False),
        (("gpu", 1, 1), False),
        (("gpu", 1, 2), True),
        (("gpu", [3], 1), False),
        (("gpu", "0,1", 1), True),
        (("auto", "-1", 1), True),
        (("auto", -1, 1), True),
        (("gpu", "0,", 1), False),
        (("gpu", [0, 1], 1), True),
        (("gpu", "1", 2), True),
        (("mps", 2, 1), False),
        (("auto", "auto", 2), True),
    ],
)
def test_batch_statistics_are_shared_by_several_gpu_processes_only(monkeypatch, settings, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert several_gpus(*settings) is expected


def test_shared_batch_statistics_keep_the_activations_of_timms_norms():
    net = SMP(3, "Unet", "tu-mobilenetv3_small_050").eval()
    images = torch.randn(1, 3, 64, 64)
    expected = net(images)
    converted = SyncBatchNorm().apply(net)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in converted.modules())
    torch.testing.assert_close(converted(images), expected)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", sync_batchnorm=True, logger=False, enable_checkpointing=False
    )
    assert isinstance(trainer.strategy._layer_sync, SyncBatchNorm)


@pytest.mark.parametrize("setting", [{"accumulate_grad_batches": 0}, {"gradient_clip_val": -1.0}])
def test_numbers_that_cannot_be_are_refused_by_name(setting):
    with pytest.raises(ValueError, match=rf"trainer\.{next(iter(setting))}: .* or more is expected"):
        Trainer(accelerator="cpu", logger=False, **setting)
