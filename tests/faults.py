"""Callbacks with which the tests do to a run what happens to runs."""

import os

import torch

from pytorch_lightning.callbacks import Callback


class Signal(Callback):
    """Send this process a signal in an optimiser step, once; 2 is Ctrl-C, 15 is SIGTERM, 9 is SIGKILL."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number, self.sent = step, number, False

    def on_train_batch_start(self, trainer, *args) -> None:
        if not self.sent and trainer.global_step >= self.step - 1:
            self.sent = True
            os.kill(os.getpid(), self.number)


class Poison(Callback):
    """Make a value of the image, or of the weights, of some optimiser steps' batches NaN."""

    def __init__(self, steps: list[int], what: str = "image", rank: int = 0) -> None:
        self.steps, self.what, self.rank = steps, what, rank

    def on_train_batch_start(self, trainer, task, batch, batch_idx) -> None:
        if trainer.global_step + 1 not in self.steps or trainer.global_rank != self.rank:
            return
        if self.what == "image":
            batch["image"] = batch["image"].float()
            batch["image"][0, 0, 0, 0] = torch.nan
        else:
            with torch.no_grad():
                next(task.net.parameters()).view(-1)[0] = torch.inf
