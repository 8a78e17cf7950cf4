"""NaN and infinity in training: the step is left out, and its batch kept so that it can be replayed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from seg.checkpoints import reason
from seg.files import replacing
from seg.loggers import run_folder
from seg.spikes import Spikes
from seg.stopping import strongest

FORMAT = 1
"""Version of what a failure's file holds."""


class Guard(Callback):
    """Leave out steps whose loss, gradient or batch statistics are not finite, keep their batches, tell spikes.

    A step that is left out changes nothing but the schedule: weights, the optimiser's moments and the statistics of
    batch norms stay as they were before its first batch. That is the default, because one bad batch must not cost a
    night's training; where it is not the batch's fault the next steps fail, too, and `patience` ends the run. fp16's
    loss scaling overflows now and then by design and leaves such steps out itself: only a loss that is not finite
    before scaling, or `patience` overflows in a row, count as failures there.

    Decided once an optimiser step, by one number read from the device, alike in all processes.

    Args:
        action: skip leaves the step out, stop ends the run.
        patience: steps in a row that are left out before the run ends all the same.
        keep: how many failures of a run are written to its folder `failures`, for `seg replay`.
        spikes: print a line when the loss jumps, see `seg.spikes`.

    Raises:
        ValueError: a setting that cannot be.

    """

    def __init__(
        self, action: Literal["skip", "stop"] = "skip", patience: int = 10, keep: int = 5, spikes: bool = True
    ) -> None:
        if action not in ("skip", "stop"):
            raise ValueError(f"action: '{action}' is neither skip nor stop")
        if patience < 1 or keep < 0:
            raise ValueError(f"patience: {patience} must be at least 1, keep: {keep} at least 0")
        self.action, self.patience, self.keep = action, patience, keep
        self.spikes = Spikes() if spikes else None
        self.folder: Path | None = None
        self.in_a_row = 0
        self.skipped: list[int] = []
        self.jumps: list[int] = []
        self.batches: list[tuple[int, Any]] = []
        self.losses: list[Tensor] = []
        self.watched: list[Tensor] = []
        self.buffers: dict[torch.dtype, Tensor] = {}
        self.generators: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return what the end of a resumed run tells, too."""
        losses = list(self.spikes.losses) if self.spikes else []
        return {"skipped": self.skipped[:], "jumps": self.jumps[:], "losses": losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what an interrupted run had seen."""
        self.skipped, self.jumps = list(state_dict["skipped"]), list(state_dict["jumps"])
        if self.spikes:
            self.spikes.losses.extend(state_dict["losses"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the run folder."""
        run = run_folder(trainer)
        self.folder = run / "failures" if run is not None else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the buffers that training moves, once: walking through all modules takes a while."""
        self.watched = list(network(pl_module).buffers())

    # -- what a step begins with ---------------------------------------------------------------------------------------

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note the batch; at the first of an optimiser step what a left-out step must give back."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.batches, self.losses = [], []
            self.buffers = flattened(self.watched)
            self.generators = {"cpu": torch.get_rng_state()}
            if pl_module.device.type == "cuda":
                self.generators["cuda"] = torch.cuda.get_rng_state()
        self.batches.append((batch_idx, batch))

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Note the loss of a batch, which fp16 has scaled by now."""
        self.losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Look at losses and gradients, and leave the step out or end the run where they are not finite."""
        if not self.losses:
            return  # no step of training, but one of a callback that runs batches of its own, such as to measure norms
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        # a norm whose squares overflow (1e19) counts as infinite: Adam's second moments would overflow likewise
        norm = torch.nn.utils.get_total_norm(gradients)
        loss = torch.stack(self.losses).float().sum()
        if (step_mean := getattr(pl_module, "step_mean", None)) is not None:
            loss = loss * step_mean.scale()  # batches are weighed relative to the first of their step
        statistics = [~flat.isfinite().all() for flat in flattened(self.watched).values()]
        wrong = torch.stack([~loss.isfinite(), *statistics]).any()
        numbers = torch.stack([~norm.isfinite(), wrong, loss]).float()
        if trainer.world_size > 1:
            numbers = torch.as_tensor(trainer.strategy.reduce(numbers, reduce_op="mean"))
        gradient_wrong, other_wrong, value = numbers.tolist()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        value /= scaler.get_scale() if scaler else 1.0
        if not gradient_wrong and not other_wrong:
            self.in_a_row = 0
            self.observe(trainer, value)
            return
        self.in_a_row += 1
        if scaler is not None and not other_wrong and self.in_a_row < self.patience:
            return  # an overflow of the scaled gradient, which the scaler leaves out and adapts to
        self.fail(trainer, pl_module, value, float(norm), bool(wrong))
        if scaler is None or not gradient_wrong:  # a scaler finds the same, and must see it to lower its scale
            optimizer.zero_grad(set_to_none=True)

    def observe(self, trainer: pl.Trainer, loss: float) -> None:
        """Tell a spike of the loss."""
        if self.spikes is None or (usual := self.spikes.observe(loss)) is None:
            return
        self.jumps.append(trainer.global_step + 1)
        if trainer.is_global_zero:
            print(f"step {self.jumps[-1]}: the loss jumps to {loss:.4g}, from around {usual:.4g}", flush=True)

    # -- a step that fails ---------------------------------------------------------------------------------------------

    def fail(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: float, norm: float, own: bool = True
    ) -> None:
        """Give back what the step's forward passes changed, keep its batches, say so; end the run where asked to.

        Args:
            trainer: of the run.
            pl_module: the task.
            loss: of the step.
            norm: of its gradient.
            own: whether it is this process's batches that are not finite: the file that is named is one of those.

        Raises:
            ValueError: the run ends here; names the step, the file and the cures.

        """
        step = trainer.global_step + 1
        restore(self.watched, self.buffers)
        self.skipped.append(step)
        path = self.write(trainer, pl_module, step)
        if path and trainer.world_size > 1:
            path = path.with_name(batches_of(trainer, step, strongest(trainer, trainer.global_rank if own else 0)))
        found = f"step {step}: the loss is {loss:.4g}, the norm of the gradient {norm:.4g}"
        where = f"; where it begins is told by: seg replay {path}" if path else ""
        if self.action == "skip" and self.in_a_row < self.patience:
            if trainer.is_global_zero:
                print(f"{found}; the step is left out{where}", flush=True)
            return
        many = f", {self.in_a_row} failures in a row" if self.in_a_row > 1 else ""
        raise ValueError(
            f"{found}{many}; training ends{where}. What helps: going on with --ckpt_path last and "
            "a lower learning rate, trainer.gradient_clip_val: 1.0 or precision: 32; or warm-up, from the start"
        )

    def write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> Path | None:
        """Write the batches of every process and the weights before the step; returns this process's file, if any."""
        if self.folder is None:
            return None
        folder = self.folder
        there = trainer.strategy.broadcast(len(list(folder.glob("step_*.ckpt"))))
        if there >= self.keep:
            return None
        path, weights = folder / batches_of(trainer, step, trainer.global_rank), folder / f"step_{step}.ckpt"
        held = {
            "format": FORMAT,
            "step": step,
            "epoch": trainer.current_epoch,
            "rank": trainer.global_rank,
            "accumulate": trainer.accumulate_grad_batches,
            "precision": str(trainer.precision),
            "scale": float(getattr(getattr(trainer.precision_plugin, "scaler", None), "get_scale", lambda: 1.0)()),
            "weights": weights.name,
            "batch_indices": [index for index, _ in self.batches],
            "batches": [pl_module.transfer_batch_to_device(batch, torch.device("cpu"), 0) for _, batch in self.batches],
            "losses": [float(loss) for loss in self.losses],
            "seed": torch.initial_seed(),
            "generators": self.generators,
            "evaluating": [name for name, module in pl_module.named_modules() if not module.training],
            "frozen": [name for name, parameter in pl_module.named_parameters() if not parameter.requires_grad],
        }
        try:
            trainer.save_checkpoint(weights, weights_only=True)
            with replacing(path) as temporary, temporary.open("wb") as file:  # given a path, torch hides the reason
                torch.save(held, file)
        except (OSError, RuntimeError) as error:  # torch's writer tells of a full disk by a RuntimeError
            if trainer.world_size > 1:  # the others wait for this process
                raise OSError(f"step {step}: its batch could not be kept: {reason(error)}") from error
            print(f"step {step}: its batch could not be kept: {reason(error)}", flush=True)
            return None
        return path

    def summary(self) -> list[str]:
        """Return the lines that the end of a run tells of what happened on the way."""
        lines = []
        if self.skipped:
            kept = f"; batches in {self.folder}, see seg replay" if self.folder and self.folder.is_dir() else ""
            lines.append(f"steps left out, not finite: {listed(self.skipped)}{kept}")
        if self.jumps:
            lines.append(f"spikes of the training loss at steps: {listed(self.jumps)}")
        return lines


def batches_of(trainer: pl.Trainer, step: int, rank: int) -> str:
    """Return the name of the file of a process's batches of a step."""
    return f"step_{step}" + (f"_rank_{rank}" if trainer.world_size > 1 else "") + ".pt"


def summaries(trainer: pl.Trainer) -> list[str]:
    """Return the lines that the guard of a run has for its end."""
    guards = [callback for callback in trainer.callbacks if isinstance(callback, Guard)]  # type: ignore[attr-defined]
    return [line for guard in guards for line in guard.summary()]


def left_out(trainer: pl.Trainer) -> bool:
    """Tell whether the last optimiser step was left out, by a guard or by the loss scaling that it watches."""
    return any(isinstance(callback, Guard) and callback.in_a_row for callback in trainer.callbacks)  # type: ignore[attr-defined]


def listed(steps: list[int], most: int = 8) -> str:
    """Return step numbers as text, the first few of many."""
    return ", ".join(map(str, steps[:most])) + (f" and {len(steps) - most} more" if len(steps) > most else "")


def network(task: pl.LightningModule) -> torch.nn.Module:
    """Return what has statistics that training moves: the task's other buffers may be infinite, and stay."""
    found = getattr(task, "net", task)
    assert isinstance(found, torch.nn.Module)
    return found


def flattened(buffers: Iterable[Tensor]) -> dict[torch.dtype, Tensor]:
    """Return a copy of buffers, such as the statistics of batch norms, in one vector a type."""
    grouped: dict[torch.dtype, list[Tensor]] = {}
    for buffer in buffers:
        grouped.setdefault(buffer.dtype, []).append(buffer.detach().flatten())
    return {dtype: torch.cat(group) for dtype, group in grouped.items()}


@torch.no_grad()
def restore(buffers: Iterable[Tensor], flat: dict[torch.dtype, Tensor]) -> None:
    """Put back what `flattened` returned of the same buffers."""
    positions = dict.fromkeys(flat, 0)
    for buffer in buffers:
        start = positions[buffer.dtype]
        positions[buffer.dtype] = start + buffer.numel()
        buffer.copy_(flat[buffer.dtype][start : start + buffer.numel()].view_as(buffer))
