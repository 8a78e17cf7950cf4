"""The `seg replay` command: a step that failed in training, run again, and where NaN or infinity first appears."""

import argparse
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seg.task import SegmentationTask


def main(argv: list[str] | None = None) -> None:
    """Run `seg replay`."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        prog="seg replay",
        allow_abbrev=False,
        description="Run a step whose loss or gradient was not finite again, with the weights, the batch and the "
        "random numbers that it had, and tell where the first NaN or infinity appears.",
    )
    parser.add_argument("failure", type=Path, help="file that the run left, such as RUN/failures/step_123.pt")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 …; auto is a GPU where there is one")
    parser.add_argument("--precision", help="number format, such as 32; that of the run where not given")
    options = parser.parse_args(argv)
    quiet()

    def act() -> None:
        print(replay(options.failure, options.device, options.precision).text())

    told(act)


@dataclass
class Place:
    """Tell what was seen at one place of a step.

    Args:
        name: of the module, parameter or loss term.
        kind: activation, loss or gradient.
        shape: of the tensor.
        wrong: how many of its values are NaN or infinite.
        largest: the largest absolute value among the finite ones.
        module: class of the module, where it is one.

    """

    name: str
    kind: str
    shape: tuple[int, ...]
    wrong: int
    largest: float
    module: str = ""

    def text(self) -> str:
        """Return one line."""
        what = f"{self.name} ({self.module})" if self.module else self.name
        total = math.prod(self.shape)
        return f"{what}, {'×'.join(map(str, self.shape)) or 'one number'}: " + (
            f"{self.wrong} of {total} not finite" if self.wrong else f"finite, up to {self.largest:.4g}"
        )


@dataclass
class Trace:
    """Hold all places of a step in the order in which they were computed."""

    step: int
    heading: list[str]
    places: list[Place] = field(default_factory=list)

    def first(self, kind: str) -> Place | None:
        """Return the first place of a kind that is not finite."""
        return next((place for place in self.places if place.kind == kind and place.wrong), None)

    def text(self) -> str:
        """Return what `seg replay` prints."""
        lines = list(self.heading)
        for kind in ("input", "weight", "activation", "loss", "gradient", "parameter gradient"):
            places = [place for place in self.places if place.kind == kind]
            if not places:
                continue
            title = f"{kind}{'es' if kind.endswith('s') else 's'}:"
            first = self.first(kind)
            if first is None:
                largest = max(places, key=lambda place: place.largest)
                lines.append(f"{title:<21}all finite; the largest: {largest.text()}")
                continue
            before = places[places.index(first) - 1] if places.index(first) else None
            count = sum(place.wrong > 0 for place in places)
            lines.append(f"{title:<21}{count} of {len(places)} not finite; the first: {first.text()}")
            if before is not None and kind in ("activation", "gradient"):
                lines.append(f"{'':<21}before it: {before.text()}")
        found = next((place for place in self.places if place.wrong), None)
        if found is None:
            lines.append(
                "the step is finite here: another device, library version or precision may be the reason; see --device"
            )
        else:
            lines.append(f"it begins at the {found.kind} of {found.name}")
        return "\n".join(lines)


def replay(path: Path, device: str = "auto", precision: str | None = None) -> Trace:
    """Run a failed step again.

    Args:
        path: the file that `seg.guard.Guard` wrote; the weights lie beside it.
        device: where to compute; auto is a GPU where there is one.
        precision: number format as the Trainer names it; that of the run where not given.

    Returns:
        what was seen in inputs, weights, activations, losses and gradients, in the order of computation.

    Raises:
        FileNotFoundError: the file or the weights are not there.
        ValueError: it is no such file, or a device that is not there.

    """
    from seg.loading import load_task

    held = read(path)
    task = load_task(path.parent / held["weights"], device)
    for name, module in task.named_modules():
        module.training = name not in held["evaluating"]
    for name, parameter in task.named_parameters():
        parameter.requires_grad_(name not in held["frozen"])
    precision = precision or held["precision"]
    names = [name for batch in held["batches"] for name in batch.get("id", [])]
    losses = (loss * held["accumulate"] / held["scale"] for loss in held["losses"])
    trace = Trace(
        held["step"],
        [
            f"step {held['step']}, epoch {held['epoch'] + 1}, process {held['rank']}, precision {precision}, "
            f"on {task.device}",
            f"images: {', '.join(map(str, names))}",
            "in training its losses were " + ", ".join(f"{loss:.6g}" for loss in losses),
        ],
    )
    run(task, held, precision, trace)
    return trace


def read(path: Path) -> dict[str, Any]:
    """Return what a failure's file holds, see `replay`."""
    import torch

    from seg.guard import FORMAT

    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; a run names it when a step fails")
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of pickles and archives fail in every way on bytes that are neither
        raise ValueError(f"{path} is damaged, or was not written by a run of seg; give a step_<n>.pt") from error
    if not isinstance(held, dict) or "batch_indices" not in held:
        raise ValueError(f"{path} holds no failed step; give a file such as RUN/failures/step_123.pt")
    if held["format"] > FORMAT:
        raise ValueError(f"{path} has format {held['format']}, this version of seg reads up to {FORMAT}; update seg")
    if not (weights := path.parent / held["weights"]).is_file():
        raise FileNotFoundError(f"{weights}: the weights before the step are not there; they belong beside {path}")
    return held


def run(task: "SegmentationTask", held: dict[str, Any], precision: str, trace: Trace) -> None:
    """Run the batches of a step forward and backward, noting every place."""
    import torch

    from seg.loading import autocast

    for name, tensor in [*task.named_parameters(), *task.named_buffers()]:
        if not name.startswith("pixels."):  # where no limit is set, it is infinite
            note(trace, name, "weight", tensor)
    if task.distillation is not None:
        task.distillation.prepare(task)
    # what the step reads off the trainer: mixing is drawn from the numbers that name a batch
    task.trainer = SimpleNamespace(current_epoch=held["epoch"], global_rank=held["rank"])  # type: ignore[assignment]
    setattr(task, "log", lambda name, value, **_: logged(trace, name, value))  # noqa: B010 (there is no logger)
    scale = held["scale"] if precision.startswith("16") and task.device.type != "cpu" else 1.0
    cuda = [task.device] if task.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), warnings.catch_warnings(), watched(task, trace):
        warnings.simplefilter("ignore")
        torch.manual_seed(held["seed"])
        torch.set_rng_state(held["generators"]["cpu"])
        if cuda and "cuda" in held["generators"]:
            torch.cuda.set_rng_state(held["generators"]["cuda"], task.device)
        for index, batch in zip(held["batch_indices"], held["batches"], strict=True):
            moved = task.transfer_batch_to_device(batch, task.device, 0)
            note(trace, "image", "input", moved["image"].float())
            task.step_mean.begin(index, held["accumulate"])
            with autocast(task.device, precision):
                loss = task.training_step(moved, index)
            note(trace, "loss of the batch", "loss", loss.detach())
            (loss / held["accumulate"] * scale).backward()
    for name, parameter in task.named_parameters():
        if parameter.grad is not None:
            note(trace, name, "parameter gradient", parameter.grad)


def note(trace: Trace, name: str, kind: str, tensor: "Tensor", module: str = "") -> None:
    """Add a place."""
    if not (tensor.is_floating_point() and tensor.numel()):
        return
    finite = tensor.isfinite()
    largest = float(tensor.detach().where(finite, 0).abs().max())
    trace.places.append(Place(name, kind, tuple(tensor.shape), int((~finite).sum()), largest, module))


def logged(trace: Trace, name: str, value: Any) -> None:
    """Note a loss or one of its terms, which the task logs."""
    import torch

    if name.startswith("train/loss"):
        note(trace, name, "loss", torch.as_tensor(value).detach())


@contextmanager
def watched(task: "nn.Module", trace: Trace) -> Iterator[None]:
    """Note what every layer puts out, and the gradient that comes back to it."""

    def watch(name: str) -> Callable[..., None]:
        def after(module: "nn.Module", inputs: Any, output: Any) -> None:
            import torch

            kind = type(module).__name__
            outputs = output if isinstance(output, tuple | list) else [output]
            for tensor in outputs:
                if not isinstance(tensor, torch.Tensor):
                    continue
                note(trace, name, "activation", tensor.detach(), kind)
                if tensor.requires_grad:
                    tensor.register_hook(  # type: ignore[no-untyped-call]
                        lambda gradient: note(trace, name, "gradient", gradient, kind)
                    )

        return after

    layers = [(name, module) for name, module in task.named_modules() if name and not list(module.children())]
    losses = {name for name, module in task.named_modules() if name.partition(".")[0] in ("loss", "evaluations")}
    handles = [module.register_forward_hook(watch(name)) for name, module in layers if name not in losses]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
