"""The optimiser of a run: groups of parameters with rates and decays of their own, scaling with the global batch."""

from functools import partial
from itertools import chain
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BatchSizeFinder, Timer
from pytorch_lightning.cli import OptimizerCallable
from torch import nn

from seg.models.parts import encoder_layers, required_encoder
from seg.progress import say
from seg.schedules import Schedule, scheduler
from seg.schedules.following import Following
from seg.trainer import TrainingTimer

REFERENCE = "model.lr_reference_batch"
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
"""Optimisers of torch that can update a tensor in one pass on a CPU."""


def default_optimizer(params: Any) -> torch.optim.Optimizer:
    """Return AdamW with a learning rate of 0.001 and a weight decay of 0.01."""
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=1e-2)


def check_rates(encoder_lr: float, layer_decay: float, lr_reference_batch: int | None) -> None:
    """Refuse factors on the learning rate that make no sense.

    Raises:
        ValueError: names the setting and what is accepted.

    """
    if encoder_lr < 0:
        raise ValueError(f"model.encoder_lr: {encoder_lr}, but a factor of 0 or more is expected, such as 0.1")
    if not 0 < layer_decay <= 1:
        raise ValueError(f"model.layer_decay: {layer_decay}, but a factor above 0, up to 1, is expected, such as 0.9")
    if lr_reference_batch is not None and lr_reference_batch < 1:
        raise ValueError(f"{REFERENCE}: {lr_reference_batch}, but a number of images is expected, such as 16")


def parameter_groups(
    task: nn.Module, net: nn.Module, decay_norms: bool = False, encoder_lr: float = 1.0, layer_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Return what is trained in groups, each with a name and a factor on the learning rate.

    Args:
        task: holds all parameters: the network's, and those that a loss may have.
        net: the network.
        decay_norms: decay parameters of one dimension (norms, biases) too.
        encoder_lr: factor on the rate of the network's encoder.
        layer_decay: further factor for each layer of the encoder from its end on towards the image: the last layer
            has it once, the one before twice (Clark et al. 2020, "ELECTRA"; BEiT's recipe for UPerNet).

    Returns:
        groups with `params`, `name` (net, encoder, or encoder_3 for the third layer; `_not_decayed` behind it),
        `lr_factor`, and `weight_decay` of 0 where the optimiser's own does not hold. The first is the network's.

    Raises:
        ValueError: a factor for an encoder, of a network that has none.

    """
    layers: list[list[nn.Parameter]] = []
    if encoder_lr != 1 or layer_decay != 1:
        layers = encoder_layers(required_encoder(net, "model.encoder_lr, model.layer_decay"))
    if layer_decay == 1:
        layers = [list(chain.from_iterable(layers))] if layers else []
    inside = {id(parameter) for layer in layers for parameter in layer}
    parts = [("net", 1.0, [parameter for parameter in task.parameters() if id(parameter) not in inside])]
    for index, layer in enumerate(layers):
        name = "encoder" if layer_decay == 1 else f"encoder_{index + 1}"
        factor = 1.0 if layer_decay == 1 else layer_decay ** (len(layers) - index)
        parts.append((name, encoder_lr * factor, layer))
    groups: list[dict[str, Any]] = []
    for name, factor, parameters in parts:
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        decayed = [parameter for parameter in trained if decay_norms or parameter.ndim > 1]
        kept = [parameter for parameter in trained if not decay_norms and parameter.ndim <= 1]
        if decayed:
            groups.append({"params": decayed, "name": name, "lr_factor": factor})
        if kept:
            groups.append({"params": kept, "name": f"{name}_not_decayed", "lr_factor": factor, "weight_decay": 0.0})
    return groups


def build_optimizer(
    build: OptimizerCallable, groups: list[dict[str, Any]], scale: float = 1.0
) -> torch.optim.Optimizer:
    """Return the optimiser of groups; the learning rate of each is its own, or the optimiser's, times its factor.

    Args:
        build: makes an optimiser of groups.
        groups: see `parameter_groups`.
        scale: of all rates.

    Raises:
        ValueError: the optimiser refuses its settings, or groups of parameters such as these.

    """
    factors = [scale * group["lr_factor"] for group in groups]
    # optimisers keep what else stands in a group, and must not keep what has been applied
    kept = [{name: value for name, value in group.items() if name != "lr_factor"} for group in groups]
    try:
        optimizer = build(kept)
    except ValueError as error:
        raise ValueError(
            f"model.optimizer: {error}. It is given groups of parameters of all shapes, which not all take; "
            "torch.optim.AdamW and SGD do"
        ) from error
    for group, factor in zip(optimizer.param_groups, factors, strict=True):
        if factor != 1:
            group["lr"] = group["lr"] * factor
    return optimizer


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser of torch update each tensor in one pass on a CPU; AdamW takes a third of its time for it.

    Optimisers without such a pass stay as they are, as do those that were told how to work (`fused`, `foreach`,
    `capturable`, `differentiable`) and SGD with dampening, see `begin_momenta`. On GPUs torch chooses well by itself.
    """
    against = ("foreach", "capturable", "differentiable", "dampening")
    for group in optimizer.param_groups if type(optimizer) in FUSED else ():
        fits = all(value.device.type == "cpu" and value.is_floating_point() for value in group["params"])
        if fits and group["fused"] is None and not any(group.get(name) for name in against):
            group["fused"] = True
    optimizer.register_load_state_dict_post_hook(lay_out)
    if type(optimizer) is torch.optim.SGD:
        optimizer.register_step_pre_hook(begin_momenta)


def begin_momenta(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Begin momenta of what is trained with 0, which the first step, undampened, makes the gradient: as torch begins.

    A fused pass wants the momenta of a group to begin all at once; layers that are released get their gradients later.
    """
    for group in optimizer.param_groups:
        if group["fused"] and group["momentum"] and not group["dampening"]:
            for parameter in group["params"]:
                if parameter.requires_grad and optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay the state of an optimiser out in memory as its parameters are.

    A fused pass walks through both without looking at strides: with the state of a run that had another `channels_last`
    it would mix elements up without a word.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def batch_scale(trainer: pl.Trainer, reference: int | None) -> float:
    """Return the factor on the learning rate for the run's global batch; says so in the log.

    Args:
        trainer: knows the data module, the accumulated batches and the processes.
        reference: images a step that the given rate is meant for, or None for no scaling.

    Source: Goyal et al. 2017, "Accurate, Large Minibatch SGD", the linear scaling rule.

    Raises:
        ValueError: the data module does not tell its batch size, or BatchSizeFinder is going to change it where it must
            not.

    """
    refuse_finder(trainer, reference)
    if reference is None:
        return 1.0
    batch = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
    if batch is None:
        raise ValueError(f"{REFERENCE}: the data module has no batch_size to scale by; leave the setting out")
    accumulated, processes = trainer.accumulate_grad_batches, trainer.world_size
    images = batch * accumulated * processes
    line = f"{images} images a step ({batch} a batch × {accumulated} accumulated × {processes} processes)"
    say(f"learning rate × {images / reference:g}: {line} where it is meant for {reference}")
    return float(images / reference)


def refuse_finder(trainer: pl.Trainer, reference: int | None) -> None:
    """Refuse BatchSizeFinder where it would spoil a run without a word.

    Raises:
        ValueError: rates are scaled with the number of images, of which it makes another afterwards; or a run goes on,
            of which it restores nothing but the weights, so that all steps would be made again.

    """
    if not any(isinstance(callback, BatchSizeFinder) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        return
    cure = "leave it out of trainer.callbacks and set data.batch_size to what it has found"
    if reference is not None:
        raise ValueError(f"{REFERENCE}: BatchSizeFinder looks for a batch when rates are scaled already; {cure}")
    if trainer.ckpt_path is not None:
        raise ValueError(f"BatchSizeFinder lets a run begin anew, not go on with a checkpoint; {cure}")


def scheduled(optimizer: torch.optim.Optimizer, schedule: Schedule, trainer: pl.Trainer) -> Following:
    """Return the torch scheduler that follows a schedule over the steps or the time of a run."""
    # asked for at every step: BatchSizeFinder changes the number of steps when the optimiser has long been built
    return scheduler(
        optimizer, schedule, lambda: float(trainer.estimated_stepping_batches), partial(elapsed_share, trainer)
    )


def logged_groups(optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Return the names under which learning rates are logged, and the group that each is read from.

    Of an encoder with a rate for each layer, that of its last layer is logged.
    """
    encoder = [
        index for index, group in enumerate(optimizer.param_groups) if str(group.get("name", "")).startswith("encoder")
    ]
    return {"lr/net": 0, **({"lr/encoder": encoder[-1]} if encoder else {})}


def elapsed_share(trainer: pl.Trainer) -> float:
    """Return the share of `trainer.max_time` that has been trained, 0 where there is no such limit."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, TrainingTimer):
            return callback.share(trainer)
        if isinstance(callback, Timer) and (remaining := callback.time_remaining()) is not None:
            elapsed = callback.time_elapsed()
            share = elapsed / (elapsed + remaining) if elapsed + remaining > 0 else 1.0
            # one clock for all processes, or their learning rates would drift apart
            return float(trainer.strategy.broadcast(share))
    return 0.0
