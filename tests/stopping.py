"""Callbacks with which the tests stop a run."""

import os
import signal

from pytorch_lightning.callbacks import Callback


class StopAfter(Callback):
    """Stop the run in order, after so many optimiser steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step >= self.steps:
            trainer.should_stop = True


class PressCtrlC(Callback):
    """Press Ctrl-C, once if not told otherwise, during an optimiser step."""

    def __init__(self, step: int, times: int = 1) -> None:
        self.step, self.times, self.pressed = step, times, False

    def on_train_batch_start(self, trainer, *args) -> None:
        if trainer.global_step == self.step - 1 and not self.pressed:
            self.pressed = True
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


class KillWorker(Callback):
    """Kill the second process of a job after so many optimiser steps, the first time that torchrun starts it."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, *args) -> None:
        first_time = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if first_time and trainer.global_rank == 1 and trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
