"""Callbacks with which the tests do to a run what happens to runs."""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback

import seg.cli
from seg.guard import Guard


class Signal(Callback):
    """Send this process a signal in an optimiser step, once; 2 is Ctrl-C, 15 is SIGTERM, 9 is SIGKILL."""

    def __init__(self, step: int, number: int, rank: int = 0) -> None:
        self.step, self.number, self.rank, self.sent = step, number, rank, False

    def on_train_batch_start(self, trainer, *args) -> None:
        if not self.sent and trainer.global_step >= self.step - 1 and trainer.global_rank == self.rank:
            self.sent = True
            os.kill(os.getpid(), self.number)


class Poison(Callback):
    """Give the batches of some optimiser steps an image of huge values, or the network an infinite weight."""

    def __init__(self, steps: list[int], what: str = "image", rank: int = 0) -> None:
        self.steps, self.what, self.rank = steps, what, rank

    def on_train_batch_start(self, trainer, task, batch, batch_idx) -> None:
        if trainer.global_step + 1 not in self.steps or trainer.global_rank != self.rank:
            return
        if self.what == "image":
            batch["image"] = batch["image"].float()
            batch["image"][0] = 3e38  # NaN and infinity are missing values, and allowed
        else:
            with torch.no_grad():
                next(task.net.parameters())[0, 0, 0, 0] = torch.inf


class NoGuard(Guard):
    """Take seg's own guard out of a run."""

    def setup(self, trainer, task, stage) -> None:
        trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, Guard)]


class CallItAFailure(Callback):
    """Have the guard write a step that is finite, and keep its gradients."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_before_optimizer_step(self, trainer, task, optimizer) -> None:
        if trainer.global_step + 1 == self.step:
            guard = next(callback for callback in trainer.callbacks if isinstance(callback, Guard))
            found = {name: parameter.grad.clone() for name, parameter in task.named_parameters()}
            torch.save(found, "gradients.pt")
            guard.fail(trainer, task, 0.0, 0.0)


class OutOfMemory(Callback):
    """Raise torch's error of a full GPU in an optimiser step."""

    def on_before_optimizer_step(self, trainer, task, optimizer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore about it")


class KillWorker(Callback):
    """Kill a worker of the training loader in an optimiser step."""

    def on_train_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGKILL)


class SmallFiles(Callback):
    """Let no file grow beyond so many bytes from an optimiser step on, as on a disk that is full."""

    def __init__(self, step: int, size: int) -> None:
        self.step, self.size = step, size

    def on_train_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == self.step - 1:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


class SlowSave(Callback):
    """Make every checkpoint take a while between its last byte and its name, so that kills fall in the midst of it."""

    def __init__(self, seconds: float) -> None:
        real = os.fsync

        def slow(handle: int) -> None:
            time.sleep(seconds)
            real(handle)

        os.fsync = slow


class KillWandB(Callback):
    """Kill W&B's own process, which carries a run's numbers away, in an optimiser step."""

    def on_train_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == 2:
            for folder in Path("/proc").iterdir():
                try:
                    status = (folder / "stat").read_text().rpartition(")")
                except OSError:
                    continue
                if "wandb" in status[0] and int(status[2].split()[1]) == os.getpid():
                    os.kill(int(folder.name), signal.SIGKILL)
                    Path("killed").touch()


class SlowPage(Callback):
    """Let the page of a stopped run take longer than Lightning waits before it kills processes."""

    def on_fit_start(self, trainer, *args) -> None:
        quick = seg.cli.leave

        def leave(*given) -> None:
            time.sleep(12)
            quick(*given)

        seg.cli.leave = leave
