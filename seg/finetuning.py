"""Fine-tuning: beginning with the weights of another run, and holding the encoder still for a while."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seg.entry import read_checkpoint
from seg.models.parts import encoder_layers, required_encoder
from seg.models.weights import adapt_channels


def start_from(net: nn.Module, path: str, channels: int) -> str:
    """Fill a network with those tensors of a run's checkpoint that fit by name and shape.

    A first layer for images of other channels is adapted, see `seg.models.weights.adapt_channels`.

    Args:
        net: the network; what the checkpoint has not, or in another shape (a head for other classes), stays.
        path: checkpoint of a run of seg.
        channels: of the network's images.

    Returns:
        what was taken and what was left, in words.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no checkpoint of seg, or one of which nothing fits.

    """
    checkpoint = _read(path)
    states: dict[str, Tensor] = checkpoint["state_dict"]
    held = {name.removeprefix("net."): value for name, value in states.items() if name.startswith("net.")}
    before = len(checkpoint["hyper_parameters"].get("mean") or [])
    own = net.state_dict()
    taken: dict[str, Tensor] = {}
    adapted, left = [], []
    for name, value in held.items():
        if name not in own:
            left.append(f"{name} (not in the network)")
        elif value.shape == own[name].shape:
            taken[name] = value
        elif _is_first(value, own[name], before, channels):
            taken[name] = adapt_channels(value, channels, before)
            adapted.append(f"{name} (from {before} channels to {channels})")
        else:
            left.append(f"{name} {tuple(value.shape)} (the network's is {tuple(own[name].shape)})")
    left += [f"{name} (not in the checkpoint)" for name in own if name not in held]
    if not any(value.ndim > 1 for value in taken.values()):
        raise ValueError(
            f"model.init_from: nothing of {path} fits {type(net).__name__}: {_some(left)}. Give a checkpoint of the "
            "same kind of network, or leave the setting out"
        )
    net.load_state_dict({**own, **taken})
    text = f"init_from {path}: took {len(taken)} of the network's {len(own)} tensors"
    text += f"; adapted {_some(adapted)}" if adapted else ""
    return text + (f"; left {_some(left)}" if left else "")


def _read(path: str) -> dict[str, Any]:
    """Return a checkpoint of this project; what is wrong with it is told of the setting that names it."""
    try:
        return read_checkpoint(Path(path))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"model.init_from: there is no file {path}; give a best.ckpt of a run") from error
    except ValueError as error:
        raise ValueError(f"model.init_from: {error}") from error


def _is_first(value: Tensor, own: Tensor, before: int, channels: int) -> bool:
    """Return whether a convolution sees the image, and differs in nothing but the image's channels."""
    alike = value.ndim == own.ndim == 4 and value.shape[0] == own.shape[0] and value.shape[2:] == own.shape[2:]
    return alike and value.shape[1] == before and own.shape[1] == channels


def _some(names: list[str]) -> str:
    """Return names for one line, the first of many."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


class FreezeEncoder(Callback):
    """Hold the encoder still at first, and release it all at once or layer by layer, from its end towards the image.

    Works for every network with an encoder, see `seg.models.parts`. Frozen layers have no gradients, so that no
    optimiser touches or decays them, and their batch norms use and keep their running statistics. The optimiser knows
    all parameters from the beginning: rates follow the schedule, and `model.encoder_lr` holds after the release.

    Args:
        epochs: for which the whole encoder is frozen; null for the whole run.
        layers_per_epoch: layers released with every epoch after these (Howard and Ruder 2018, "gradual unfreezing");
            null for all at once.

    Raises:
        ValueError: numbers below 0 or 1, a network without an encoder, or processes that would not agree.

    """

    def __init__(self, epochs: int | None = None, layers_per_epoch: int | None = None) -> None:
        if (epochs is not None and epochs < 0) or (layers_per_epoch is not None and layers_per_epoch < 1):
            raise ValueError(
                f"FreezeEncoder.epochs, layers_per_epoch: {epochs}, {layers_per_epoch}, but epochs of 0 or more and "
                "layers of 1 or more are expected, or null"
            )
        self.epochs, self.layers_per_epoch = epochs, layers_per_epoch

    def frozen(self, epoch: int, layers: int) -> int:
        """Return how many of an encoder's layers, counted from the image, are frozen in an epoch."""
        if self.epochs is None or epoch < self.epochs:
            return layers
        if self.layers_per_epoch is None:
            return 0
        return max(0, layers - (epoch - self.epochs + 1) * self.layers_per_epoch)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check that processes will wait for no gradient that does not come."""
        if getattr(trainer.strategy.model, "find_unused_parameters", True) is False:
            raise ValueError(
                "FreezeEncoder: several processes must be told that some parameters have no gradient; "
                "set trainer.strategy: ddp_find_unused_parameters_true"
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze what a run begins, or goes on, with."""
        self.apply(pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Release what the epoch releases."""
        self.apply(pl_module, trainer.current_epoch)

    def apply(self, task: Any, epoch: int) -> None:
        """Freeze and release the layers of an epoch."""
        encoder = required_encoder(task.net, "FreezeEncoder")
        layers = encoder_layers(encoder)
        number = self.frozen(epoch, len(layers))
        for index, layer in enumerate(layers):
            for parameter in layer:
                parameter.requires_grad_(index >= number)
        for module in encoder.modules():
            if isinstance(module, _BatchNorm):
                still = [not parameter.requires_grad for parameter in module.parameters()]
                module.train(not (all(still) if still else number == len(layers)))
