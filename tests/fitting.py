"""A real fit of a few numbers: a network of one convolution, a handful of batches, every optimiser step recorded."""

from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import Callback, Checkpoint
from torch import nn
from torch.utils.data import DataLoader

from seg.trainer import Trainer
from tests.test_task import task

BATCHES = 7
"""Batches of an epoch: neither 2 nor 4 divides them."""


class Tiny(nn.Module):
    """Images to logits by an encoder of one convolution with its norm, and a head."""

    def __init__(self, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(channels, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, images):
        return self.head(self.encoder(images))


class Data(LightningDataModule):
    """The same batches in every epoch."""

    def __init__(self, batch_size: int = 2, batches: int = BATCHES) -> None:
        super().__init__()
        self.batch_size = batch_size
        draw = torch.Generator().manual_seed(0)
        self.samples = [
            {
                "image": torch.randint(0, 255, (3, 8, 8), dtype=torch.uint8, generator=draw),
                "mask": torch.randint(0, 3, (8, 8), dtype=torch.uint8, generator=draw),
                "id": str(index),
            }
            for index in range(batch_size * batches)
        ]

    def train_dataloader(self):
        return DataLoader(self.samples, batch_size=self.batch_size)

    def val_dataloader(self):
        return DataLoader(self.samples[:2], batch_size=1)


class Steps(Callback):
    """Record what every optimiser step is made with."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.norms: list[float] = []
        self.validated: list[int] = []

    def on_before_optimizer_step(self, trainer, module, optimizer) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_before_zero_grad(self, trainer, module, optimizer) -> None:
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        if gradients:
            self.norms.append(float(torch.stack([gradient.norm() for gradient in gradients]).norm()))

    def on_validation_end(self, trainer, module) -> None:
        if not trainer.sanity_checking:
            self.validated.append(trainer.global_step)


def built(**settings: Any):
    """Return a task with a rate of 1 and fixed weights."""
    torch.manual_seed(0)
    settings = {"optimizer": lambda params: torch.optim.SGD(params, lr=1.0), "net": Tiny(), **settings}
    made = task(**settings)
    del made.log  # the fit logs
    made.hparams.clear()  # built of objects, which no checkpoint of the command line holds
    return made


def fit(made: Any, data: Data | None = None, ckpt_path: Any = None, callbacks: tuple = (), **settings: Any):
    """Fit a task; returns what was recorded, and the trainer."""
    steps = Steps()
    trainer = Trainer(
        accelerator="cpu", precision="32", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        num_sanity_val_steps=0, callbacks=[steps, *callbacks], **settings,
    )  # fmt: skip
    trainer.fit(made, datamodule=data or Data(), ckpt_path=ckpt_path)
    return steps, trainer
