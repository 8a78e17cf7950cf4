"""An exponential moving average of the weights, which is what is validated, saved and tested."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seg.guard import left_out


class EMA(WeightAveraging):
    """Average the weights over the optimiser steps; the average is what is scored and what every checkpoint holds.

    Buffers (the statistics of batch norms) are averaged like weights, so that both belong to the same steps. They are
    still statistics of other weights than the average: `norm_batches` measures them anew with the average itself before
    every validation, and so before it is scored and saved; `last.ckpt` then averages on from there.

    Example:
        trainer:
          callbacks:
            - {class_path: seg.averaging.EMA, init_args: {decay: 0.999, norm_batches: 50}}

    Args:
        decay: share of the average that each optimiser step leaves.
        ramp: begin with less, min(decay, (1 + steps) / (10 + steps)), so that short runs forget their first weights.
        norm_batches: training batches of every process over which batch norms are measured anew; 0 for none.

    Raises:
        ValueError: a decay outside 0..1, a negative number of batches.

    """

    def __init__(self, decay: float = 0.999, ramp: bool = True, norm_batches: int = 0) -> None:
        if not 0 <= decay < 1 or norm_batches < 0:
            raise ValueError(
                f"EMA.decay, norm_batches: {decay}, {norm_batches}, but a share from 0 to below 1 and a number of "
                "batches are expected, such as 0.999 and 50"
            )
        super().__init__(multi_avg_fn=self.average)
        self.decay, self.ramp, self.norm_batches = decay, ramp, norm_batches
        self.steps = 0

    def average(self, averaged: Any, current: Any, number: Tensor | int) -> None:
        """Move the averaged tensors towards the current ones; equal values stay as they are, to the bit."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.ramp else self.decay
        get_ema_multi_avg_fn(decay)(averaged, current, number)  # type: ignore[no-untyped-call]

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Copy the task, its class weights included.

        Raises:
            ValueError: weights of half precision, which an average cannot follow in small steps.

        """
        if stage == "fit" and trainer.precision in ("16-true", "bf16-true"):
            raise ValueError(
                f"EMA: an average moves by less than the digits that weights have with trainer.precision: "
                f"{trainer.precision}; set {str(trainer.precision).replace('true', 'mixed')}"
            )
        if stage == "fit" and hasattr(pl_module, "balance_loss"):
            pl_module.balance_loss()  # counted later, they would be a buffer that the copy lacks
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None and trainer.precision == "64-true":
            self._average_model.double()  # as the weights will be, whose type Lightning changes later

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the average to the device of the weights: it was made before they were moved."""
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average after every optimiser step, those that the guard left out aside: weights would count twice."""
        self.steps = trainer.global_step
        if left_out(trainer):
            self._latest_update_step = trainer.global_step
            return
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in the place of the weights, its batch norms measured anew where that is asked for.

        Not after the fit: what is validated then has the weights of a checkpoint, which hold the average already.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return
        super().on_validation_epoch_start(trainer, pl_module)
        if self._average_model is None or not self.norm_batches or trainer.sanity_checking:
            return
        devices = [pl_module.device] if pl_module.device.type == "cuda" else []
        # dropout and shuffling draw numbers here that training must not miss
        with torch.random.fork_rng(devices), trainer.precision_plugin.val_step_context():
            measure_norms(self.images(trainer), pl_module)
        for name, buffer in pl_module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(trainer.strategy.reduce(buffer.clone(), reduce_op="mean"))  # type: ignore[arg-type]

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the weights back that training goes on with."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_validation_epoch_end(trainer, pl_module)

    def images(self, trainer: pl.Trainer) -> Iterator[Tensor]:
        """Yield raw images (B, N, H, W) of the first training batches of epoch 0."""
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        if hasattr(loader, "begin"):
            loader.begin = lambda: 0  # not where the run stands
        for _, batch in zip(range(self.norm_batches), loader, strict=False):
            yield trainer.strategy.batch_to_device(batch)["image"]


@torch.no_grad()
def measure_norms(images: Iterable[Tensor], task: nn.Module) -> None:
    """Measure the statistics of batch norms anew, as torch's update_bn does, and leave frozen norms as they are.

    Args:
        images: batches (B, N, H, W), of which the task's forward takes one.
        task: its norms that train get the means over all batches; a norm is frozen where none of its weights trains.

    """
    norms = [module for module in task.modules() if isinstance(module, _BatchNorm)]
    frozen = [norm for norm in norms if norm.affine and not any(weight.requires_grad for weight in norm.parameters())]
    momenta = {norm: norm.momentum for norm in norms if norm not in frozen}
    training = task.training
    task.train()
    for norm in frozen:
        norm.eval()
    for norm in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    for batch in images:
        task(batch)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
    task.train(training)
