"""A set-up about to take its first step: network, loss, optimiser and data as the run has them, to try things on."""

import contextlib
import io
import time
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from torch import Tensor, nn

from seg.data.base import SegmentationData
from seg.data.dataset import Pairs
from seg.doctor.samples import outlines_ignored, small_batch
from seg.metrics import SegmentationMetrics
from seg.models.profile import evaluating
from seg.task import SegmentationTask
from seg.trainer import TrainingTimer

SAMPLES = 8
"""Samples that are overfitted."""
POOL = 32
"""Samples that the range test draws from."""
SIDE = 96
"""Height and width of their crops in pixels: 3 cells of a network of stride 32, and a step that takes a moment."""
LONGEST = 50_000
"""Optimiser steps of which the schedule is followed one by one; a few seconds."""
Batch = dict[str, Any]


class Clock:
    """The time that an examination may take.

    Args:
        seconds: in all.

    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.begin = seconds, time.monotonic()

    @property
    def left(self) -> float:
        """Seconds that are left, below 0 where there are none."""
        return self.seconds - (time.monotonic() - self.begin)

    def until(self, share: float) -> float:
        """Return the moment, of time.monotonic, at which a part that may take this share of the whole must end."""
        return time.monotonic() + max(0.0, min(share * self.seconds, self.left))


class Setup:
    """Hold a run that stands before its first step, and let checks try things on it.

    Args:
        trainer: Lightning's, its strategy and data set up; nothing is logged or saved by it.
        task: network, loss, optimiser.
        data: the data module, its splits set up.
        clock: the time that there is.

    """

    def __init__(self, trainer: pl.Trainer, task: SegmentationTask, data: SegmentationData, clock: Clock) -> None:
        self.trainer, self.task, self.data, self.clock = trainer, task, data, clock
        self.pictures: dict[str, np.ndarray] = {}
        """File name without suffix -> picture that a check has drawn."""
        self.figures: dict[str, Any] = {}
        """What was measured, as plain values, for the report."""
        self.groups: list[str] = []
        """Names of the parameter groups; `rates` finds them."""
        self.random_weights = False
        """Whether weights that the config names could not be had."""

    # -- data ---------------------------------------------------------------------------------------------------------

    @cached_property
    def batch(self) -> Batch:
        """The first training batch, as the loader gives it, on the CPU."""
        batch: Batch = next(iter(self.data.train_dataloader()))
        return batch

    def on_device(self, batch: Batch) -> Batch:
        """Return a batch on the device, resized where the data module does that to batches."""
        moved: Batch = self.trainer.strategy.batch_to_device(batch)
        return moved

    @cached_property
    def pool(self) -> Batch:
        """Crops of augmented training samples, masks at the size of the images, on the device."""
        return self.crops(self.data.datasets["train"], POOL)

    def crops(self, dataset: Pairs, number: int) -> Batch:
        """Return crops of samples from all over a data set, in mixed order, on the device."""
        indices = np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).astype(int))
        # the first few of an ordered data set may be of one scene
        indices = np.random.default_rng(0).permutation(indices)
        batch = small_batch([dataset[int(index)] for index in indices], SIDE)
        device = self.trainer.strategy.root_device
        return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}

    @cached_property
    def few(self) -> Batch:
        """The first of the crops, at most eight."""
        return taken(self.pool, slice(SAMPLES))

    @cached_property
    def learnable(self) -> Batch:
        """The same crops without what eight samples cannot teach, see `outlines_ignored`."""
        masks = self.few["mask"].cpu().numpy()
        drawn = outlines_ignored(masks, self.output_scale, self.data.ignore_index)
        return {**self.few, "mask": torch.from_numpy(drawn).to(self.few["mask"])}

    @cached_property
    def output_scale(self) -> int:
        """Pixels along the side of one cell of the maps in which the network decides for classes; 1 is every pixel."""
        scores: list[int] = []  # heights of the maps of classes that come after all others

        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if getattr(module, "out_channels", None) != self.data.num_classes:
                scores.clear()
                return
            # a transposed convolution at the end enlarges what was decided before it
            coarse = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
            scores.append(coarse.shape[-2])

        hooks = [
            m.register_forward_hook(look) for m in self.task.net.modules() if isinstance(m, nn.modules.conv._ConvNd)
        ]
        try:
            with evaluating(self.task.net), torch.no_grad():
                self.logits(taken(self.few, slice(1)))
        finally:
            for hook in hooks:
                hook.remove()
        return max(1, round(self.few["image"].shape[-2] / max(scores))) if scores else 1

    # -- network ------------------------------------------------------------------------------------------------------

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which the run computes: its number format, float32 where that needs loss scaling."""
        if self.trainer.precision == "16-mixed":
            return contextlib.nullcontext()
        return self.trainer.precision_plugin.train_step_context()

    def logits(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, at the size of its masks, in the network's present mode."""
        with self.precision():
            output = self.task.net(self.task.normalize(batch["image"]))
        main: Tensor = output[0] if isinstance(output, tuple) else output
        return self.task.to_size(main, batch["mask"])

    def score(self, batch: Batch) -> float:
        """Return the mIoU of a batch in evaluation mode."""
        metrics = SegmentationMetrics(self.data.num_classes, self.data.ignore_index)
        with evaluating(self.task), torch.no_grad():
            labels = self.logits(batch).max(1).indices
        metrics.update(labels.cpu(), batch["mask"].cpu())
        return float(metrics.compute()["miou"])

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Put weights, buffers, gradients and random generators back to where they were."""
        tensors = [*self.task.parameters(), *self.task.buffers()]
        kept = [tensor.detach().clone() for tensor in tensors]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            try:
                yield
            finally:
                with torch.no_grad():
                    for tensor, value in zip(tensors, kept, strict=True):
                        tensor.copy_(value)
                        tensor.grad = None
                self.task.train()

    # -- optimisation -------------------------------------------------------------------------------------------------

    @cached_property
    def rates(self) -> np.ndarray:
        """The learning rates of the coming run: (steps, parameter groups), the task's own scheduler followed.

        Of a run that only a time limits, 1000 moments; of a longer one than `LONGEST`, its beginning.
        """
        total = float(self.trainer.estimated_stepping_batches)
        timer = next((c for c in self.trainer.callbacks if isinstance(c, Timer)), None)  # type: ignore[attr-defined]
        steps = int(min(total, LONGEST)) if np.isfinite(total) else 1000
        elapsed = [0.0]
        if timer is not None:
            # the clock of the run, at which the schedule looks, is turned by hand
            known, length = timer.time_elapsed, float(timer.time_remaining() or 0.0)
            timer.time_elapsed = lambda *_: elapsed[0] * length  # type: ignore[method-assign]
            if isinstance(timer, TrainingTimer):  # keeps its answer for as long as no step is made
                timer.share = lambda *_: elapsed[0]  # type: ignore[method-assign]
        try:
            optimizer, plan = self._configured()
            self.groups = [str(group.get("name", index)) for index, group in enumerate(optimizer.param_groups)]
            # what a validation score decides cannot be foretold, and is followed as if it never changed
            foretold = plan is not None and "monitor" not in plan
            every = 1
            if foretold and plan is not None and plan.get("interval") != "step" and np.isfinite(total):
                every = max(1, round(total / max(1, self.trainer.max_epochs or 1)))
            rows = []
            for step in range(max(1, steps)):
                elapsed[0] = min(1.0, (step + 1) / (steps - 1)) if not np.isfinite(total) else 0.0
                rows.append([float(group["lr"]) for group in optimizer.param_groups])
                if foretold and plan is not None and (step + 1) % every == 0:
                    with warnings.catch_warnings():
                        # no optimiser steps in between, which torch takes for a mistake
                        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
                        plan["scheduler"].step()
            return np.array(rows)
        finally:
            if timer is not None:
                timer.time_elapsed = known  # type: ignore[method-assign]
                vars(timer).pop("share", None)

    def optimizer(self) -> torch.optim.Optimizer:
        """Return a fresh optimiser as the config has it, at the highest rates that its schedule reaches."""
        optimizer, _ = self._configured()
        for group, rate in zip(optimizer.param_groups, self.rates.max(0), strict=True):
            group["lr"] = float(rate)
        return optimizer

    def _configured(self) -> tuple[torch.optim.Optimizer, dict[str, Any] | None]:
        """Return optimiser and schedule, made anew; what the task has to say of them it has said before."""
        with contextlib.redirect_stdout(io.StringIO()):
            built = self.task.configure_optimizers()
        if isinstance(built, dict):
            return built["optimizer"], built.get("lr_scheduler")
        assert isinstance(built, torch.optim.Optimizer), built
        return built, None


class Training:
    """Take training steps as the run would: its loss, precision, clipping and optimiser, at a constant rate.

    Args:
        setup: the set-up; use it inside `restored`.

    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.steps = setup, 0
        self.optimizer = setup.optimizer()
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        setup.task.train()

    def gradients(self, batch: Batch) -> float:
        """Compute gradients; returns the loss."""
        setup, task = self.setup, self.setup.task
        self.optimizer.zero_grad(set_to_none=True)
        with setup.precision():
            result: Any = task.training_step(batch, self.steps)
        loss = result["loss"] if isinstance(result, dict) else result
        if loss is None or not loss.requires_grad:
            raise ValueError("the training step returns no loss that depends on a parameter")
        loss.backward()
        return float(loss.detach())

    def step(self, batch: Batch, factor: float = 1.0) -> float:
        """Take a step at `factor` times the rate; returns the loss before it."""
        loss = self.gradients(batch)
        trainer = self.setup.trainer
        if trainer.gradient_clip_val:
            self.setup.task.configure_gradient_clipping(
                self.optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm
            )
        self.move(factor)
        return loss

    def move(self, factor: float = 1.0) -> None:
        """Follow the gradients that are there, at `factor` times the rate."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.step()
        self.steps += 1


def taken(batch: Batch, part: Any) -> Batch:
    """Return some samples of a batch."""
    return {name: value[part] for name, value in batch.items() if isinstance(value, Tensor)}
