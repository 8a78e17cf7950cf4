"""Lightning's Trainer with additions: automatic precision and SyncBN, TF32, a time limit for training alone."""

import ctypes
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, LearningRateFinder, Timer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins import CheckpointIO
from pytorch_lightning.plugins.layer_sync import LayerSync, TorchSyncBatchNorm
from pytorch_lightning.trainer.states import RunningStage
from torch import distributed
from torch.nn import Module

from seg import jobs
from seg.checkpoints import AtomicCheckpointIO
from seg.validation import ValidateEvery

Precision = Literal[
    "auto", "32", "16-mixed", "bf16-mixed", "32-true", "16-true", "bf16-true", "64-true", "16", "bf16", "64"
]


class Trainer(pl.Trainer):
    """Train with PyTorch Lightning.

    Args:
        precision: number format of the computation; `auto` takes bf16-mixed where the hardware has it (CPUs too),
            16-mixed on older GPUs, 32 elsewhere. The first process of a job decides for all.
        tf32: let GPUs round the factors of float32 products to 10 bits of mantissa, which is several times faster.
        sync_batchnorm: share batch statistics between processes; `auto` does so for several GPU processes only.
        max_time: stop after this time of training, validation not counted: DD:HH:MM:SS.
        val_every_n_steps: validate every so many optimiser steps and after the last one, instead of after epochs.
        accelerator: cpu, gpu, cuda, mps, tpu or auto.
        devices: how many or which: a number, a list of indices, auto.
        num_nodes: machines that train together.
        callbacks: further callbacks; checkpoints, progress and pictures are there already.
        logger: further loggers, such as seg.loggers.WandB; metrics.csv is always written.
        plugins: Lightning's plugins.
        use_distributed_sampler: leave this off; the data modules split the images among the processes themselves.

    Raises:
        ValueError: devices and num_nodes make another number of processes than torchrun or SLURM has started,
            Lightning's LearningRateFinder is among the callbacks, or batches to accumulate or a norm to clip to that
            cannot be.

    """

    def __init__(
        self,
        *,
        precision: Precision | int = "auto",
        tf32: bool = True,
        sync_batchnorm: bool | Literal["auto"] = "auto",
        max_time: str | timedelta | dict[str, int] | None = None,
        val_every_n_steps: int | None = None,
        accelerator: str = "auto",
        devices: list[int] | str | int = "auto",
        num_nodes: int = 1,
        callbacks: list[Callback] | Callback | None = None,
        logger: Logger | Iterable[Logger] | bool | None = None,
        plugins: Any = None,
        use_distributed_sampler: bool = False,
        **kwargs: Any,
    ) -> None:
        for name, least in (("accumulate_grad_batches", 1), ("gradient_clip_val", 0)):
            if (value := kwargs.get(name)) is not None and value < least:
                raise ValueError(f"trainer.{name}: {value}, but {least} or more is expected")
        callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        if any(isinstance(callback, LearningRateFinder) for callback in callbacks):
            # it sets one attribute of the task, where rates belong to groups and to a schedule
            raise ValueError(
                "trainer.callbacks: LearningRateFinder sets one learning rate for all, which a run with groups and "
                "schedules does not have; `seg doctor run --only rate --config …` finds one, to be set as "
                "model.optimizer.init_args.lr"
            )
        if max_time is not None and not any(isinstance(callback, Timer) for callback in callbacks):
            callbacks.append(TrainingTimer(max_time))
            kwargs["max_epochs"] = kwargs.get("max_epochs") or -1
        if val_every_n_steps is not None:
            callbacks.append(ValidateEvery(val_every_n_steps))
            kwargs = ValidateEvery.settings(kwargs, val_every_n_steps)
        plugins = [] if plugins is None else list(plugins) if isinstance(plugins, list | tuple) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(SharedCheckpointIO())
        resolved: Precision | int | str = precision
        job = jobs.current(num_nodes)
        if precision == "auto":  # machines may differ, and would wait for each other's tensors of another type
            resolved = jobs.agree(job, "precision", lambda: resolve_precision(accelerator))
        # SyncBatchNorm refuses CPU tensors, so that only several GPUs can ask for it
        synced = several_gpus(accelerator, devices, num_nodes) if sync_batchnorm == "auto" else sync_batchnorm
        if synced and not any(isinstance(plugin, LayerSync) for plugin in plugins):
            plugins.append(SyncBatchNorm())
        super().__init__(
            precision=resolved,  # type: ignore[arg-type]
            sync_batchnorm=synced,
            devices=devices,
            num_nodes=num_nodes,
            accelerator=accelerator,
            callbacks=callbacks,
            logger=logger,
            plugins=plugins,
            use_distributed_sampler=use_distributed_sampler,
            **kwargs,
        )
        if job is not None and job.identity and job.size != self.num_devices * self.num_nodes:
            # each would train on its own, all in one folder
            raise ValueError(
                f"trainer.devices × trainer.num_nodes: {self.num_devices} × {self.num_nodes}, but {job.size} processes "
                f"were started ({job.identity}); set devices to those of one machine and num_nodes to the machines"
            )
        if self.strategy.root_device.type == "cuda":
            use_tf32(tf32)
        if self.strategy.root_device.type == "cpu":
            keep_freed_memory()


class SharedCheckpointIO(AtomicCheckpointIO):
    """Load a checkpoint that lies on the first process's machine alone, when others need it as well."""

    def load_checkpoint(self, path: str | Path, *args: Any, **options: Any) -> dict[str, Any]:
        """Return a checkpoint; all processes ask for the same one at the same time, as they do before training."""
        held: dict[str, Any] | None = None
        if not distributed.is_available() or not distributed.is_initialized() or "://" in str(path):
            return super().load_checkpoint(path, *args, **options)
        there: list[bool] = [False] * distributed.get_world_size()
        distributed.all_gather_object(there, Path(path).is_file())
        if there[distributed.get_rank()]:
            held = super().load_checkpoint(path, *args, **options)
        if all(there) or not there[0]:  # without it in the first process none can be trained from: the usual error
            return held if held is not None else super().load_checkpoint(path, *args, **options)
        sent = [held]
        distributed.broadcast_object_list(sent, src=0)
        assert sent[0] is not None
        return sent[0]


class SyncBatchNorm(TorchSyncBatchNorm):
    """Share batch statistics between processes, in timm's norms with activation too, which torch would drop."""

    def apply(self, model: Module) -> Module:
        """Return the network with its batch norms replaced."""
        from timm.layers import convert_sync_batchnorm  # slow to import, and needed by several GPUs alone

        converted: Module = convert_sync_batchnorm(model)
        return converted


def keep_freed_memory() -> None:
    """Tell glibc to keep the memory that tensors give back, instead of fetching fresh pages at every step.

    A training step on a CPU allocates the same large blocks again and again; U-Net's is 1.1 times faster for it. Does
    nothing where the C library is another one.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(mmap_threshold, 1 << 30)
        library.mallopt(trim_threshold, (1 << 31) - 1)
    except (OSError, AttributeError):
        return


def use_tf32(wanted: bool) -> None:
    """Turn TF32 on or off, in products of matrices and in convolutions."""
    torch.set_float32_matmul_precision("high" if wanted else "highest")
    torch.backends.cudnn.conv.fp32_precision = "tf32" if wanted else "ieee"  # type: ignore[attr-defined]


def several_gpus(accelerator: str, devices: list[int] | str | int, num_nodes: int) -> bool:
    """Tell whether a run will have more than one GPU process."""
    if accelerator not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
        return False
    if isinstance(devices, list):
        local = len(devices)
    elif str(devices) in ("auto", "-1"):
        local = torch.cuda.device_count()
    else:
        local = len(str(devices).strip(",").split(",")) if "," in str(devices) else int(devices)
    return local * num_nodes > 1


def resolve_precision(accelerator: str = "auto") -> Precision:
    """Return the fastest safe number format of this machine: bf16-mixed, 16-mixed or 32."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "32"
    # names as torch gives them on x86 and on Arm
    if cpu_capabilities() & {"avx512_bf16", "amx_bf16", "arm_bf16", "bf16"}:
        return "bf16-mixed"
    return "32"


def cpu_capabilities() -> set[str]:
    """Return the names of what this CPU can; of older torch versions, that do not tell, what Linux tells."""
    if hasattr(torch.cpu, "get_capabilities"):
        return {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    try:
        return set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return set()


class TrainingTimer(Timer):
    """Stop training after a time in which validation is not counted, with one step at the schedule's end.

    How long a step takes is not known before; so the time is looked at once an optimiser step, and when it is over one
    more step is made, which a schedule gives its end value.

    Args:
        duration: DD:HH:MM:SS, a timedelta or its arguments as a dict.

    """

    def __init__(self, duration: str | timedelta | dict[str, int]) -> None:
        super().__init__(duration, verbose=False)
        self.paused_at: float | None = None
        self.paused = 0.0
        self.asked_at, self.passed = -1, 0.0
        self.over_since: int | None = None
        self.finished = False

    def share(self, trainer: pl.Trainer) -> float:
        """Return the share of the time that has passed, 0 to 1: one value an optimiser step, for all processes."""
        if self.asked_at != trainer.global_step:
            remaining = self.time_remaining()
            assert remaining is not None
            passed = 1.0 if remaining <= 0 else 1 - remaining / (self.time_elapsed() + remaining)
            self.asked_at, self.passed = trainer.global_step, float(trainer.strategy.broadcast(passed))
            if self.passed >= 1 and self.over_since is None:
                self.over_since = trainer.global_step
        return self.passed

    def on_fit_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Train no further where a resumed run has had its time."""
        trainer.should_stop = trainer.should_stop or (self.finished and (self.time_remaining() or 0) <= 0)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop after a step that was made when the time was over."""
        self.share(trainer)
        if self.over_since is not None and trainer.global_step > self.over_since:
            self.finished = trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the elapsed time, and whether the run has had its last step."""
        return {**super().state_dict(), "finished": self.finished}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint holds."""
        super().load_state_dict(state_dict)
        self.finished = bool(state_dict.get("finished", False))

    @property
    def state_key(self) -> str:
        """Return the name under which the checkpoint holds the elapsed time."""
        return "TrainingTimer"

    def time_elapsed(self, stage: str = RunningStage.TRAINING) -> float:
        """Return the seconds spent in a stage; for training without the validations in between."""
        elapsed = super().time_elapsed(stage)
        if stage != RunningStage.TRAINING:
            return elapsed
        return elapsed - self.paused - (time.monotonic() - self.paused_at if self.paused_at is not None else 0.0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting."""
        super().on_train_start(trainer, pl_module)
        self.paused_at, self.paused = None, 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        super().on_validation_start(trainer, pl_module)
        if not trainer.sanity_checking:
            self.paused_at = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the clock run again."""
        super().on_validation_end(trainer, pl_module)
        if self.paused_at is not None:
            self.paused += time.monotonic() - self.paused_at
            self.paused_at = None
