"""Checks of the layers in one training step: activations, gradients, dead ReLUs, norms that do not learn."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seg.doctor import plots
from seg.doctor.findings import Finding, Place, counted
from seg.doctor.setup import Setup, Training

LOUD = 1e3
"""Deviation of an activation above which it explodes. Normalised images have 1, usual initialisations keep it within a
factor of ten; from some hundreds on bf16 and fp16 lose the digits, and a softmax is a hard choice."""
SILENT = 1e-5
"""Deviation below which an activation has vanished: float32 still has it, but a bias of 0.01 hides it."""
STEEP = 1e6
"""Ratio of the largest to the smallest gradient of the layers' weights from which on one rate cannot suit both."""
DEAD, MOSTLY_DEAD = 0.95, 0.6
"""Share of a layer's channels that are zero for every pixel of all samples. A random half-space cuts off one in ten at
most where inputs vary; 95 % let almost nothing pass."""
FEW_CHANNELS = 4
"""Fewer channels than this may die by chance."""


class Layer(NamedTuple):
    """What a step showed of a layer with weights: deviation of its output, root mean square of its gradient."""

    name: str
    deviation: float
    gradient: float


def layers(setup: Setup) -> Iterator[Finding]:
    """Find activations and gradients that vanish or explode, and ReLUs that are dead."""
    measured, dead = observe(setup)
    if not measured:
        yield Finding("layers", "skip", "the network has no layer with weights that is called as a module")
        return
    places = list(range(len(measured)))
    setup.pictures["layers"] = plots.lines(
        "activations and gradients before the first step",
        {
            "deviation of the layer's output": (places, [layer.deviation for layer in measured]),
            "root mean square of its weight's gradient": (places, [layer.gradient for layer in measured]),
        },
        "layer, in the order of the network",
        "",
        log="y",
        names=[layer.name for layer in measured],
    )
    setup.figures["layers"] = [layer._asdict() for layer in measured]
    wrong = list(_activations(measured)) + list(_gradients(measured)) + list(_relus(dead))
    yield from wrong
    if not wrong:
        low, high = (pick(layer.deviation for layer in measured) for pick in (min, max))
        worst = max(dead.values(), default=0.0)
        yield Finding(
            "layers",
            "pass",
            f"activations of {counted(len(measured), 'layer')} deviate by {low:.2g} … {high:.2g}; "
            f"{counted(len(dead), 'ReLU')}, at most {100 * worst:.0f} % of the channels of one dead",
        )


def _activations(measured: list[Layer]) -> Iterator[Finding]:
    loud = [layer for layer in measured if not layer.deviation < LOUD]
    silent = [layer for layer in measured if layer.deviation < SILENT]
    if loud:
        yield Finding(
            "layers",
            "fail",
            f"activations explode in {counted(len(loud), 'layer')}: deviation above {LOUD:.0f}",
            "initialise by fan-in (Kaiming for ReLU), put norms between the layers, normalise the images",
            [Place(layer.name, f"deviation {layer.deviation:.3g}") for layer in loud],
        )
    # layers that are initialised to zero are silent on purpose, and gradients tells whether they wake
    elif silent and len(silent) > 0.5 * len(measured):
        yield Finding(
            "layers",
            "fail",
            f"activations vanish in {counted(len(silent), 'layer')}: deviation below {SILENT:g}",
            "initialise by fan-in (Kaiming for ReLU), put norms between the layers",
            [Place(layer.name, f"deviation {layer.deviation:.3g}") for layer in silent],
        )


def _gradients(measured: list[Layer]) -> Iterator[Finding]:
    flowing = [layer for layer in measured if layer.gradient > 0]
    if not flowing:
        return
    least, most = (pick(flowing, key=lambda layer: layer.gradient) for pick in (min, max))
    if not most.gradient <= STEEP * least.gradient:
        yield Finding(
            "layers",
            "warn",
            f"gradients differ by {most.gradient / least.gradient:.1g} times between layers; the small ones vanish",
            "norms, residual connections, auxiliary heads; an optimiser with a rate of its own for each weight (Adam)",
            [Place(layer.name, f"gradient {layer.gradient:.3g}") for layer in (least, most)],
        )


def _relus(dead: dict[str, float]) -> Iterator[Finding]:
    for severity, bound in (("fail", DEAD), ("warn", MOSTLY_DEAD)):
        found = {name: share for name, share in dead.items() if share >= bound}
        if found:
            yield Finding(
                "layers",
                severity,  # type: ignore[arg-type]
                f"{counted(len(found), 'ReLU')} of {len(dead)} with {100 * bound:.0f} % or more of the channels dead: "
                "0 for every pixel of all samples",
                "biases start at 0, not far below; a lower rate; leaky ReLUs; norms before them",
                [Place(name, f"{100 * share:.0f} % of the channels") for name, share in found.items()],
            )
            return


def observe(setup: Setup) -> tuple[list[Layer], dict[str, float]]:
    """Return what a training step shows: layers in the order they ran, and share of dead channels of each ReLU."""
    deviations: dict[str, float] = {}
    relus = _Relus()
    hooks: list[Any] = []
    names = {module: name for name, module in setup.task.net.named_modules()}

    def entering(module: nn.Module, _: Any) -> None:
        relus.inside.append(names[module])

    def leaving(module: nn.Module, _: Any, output: Any) -> None:
        relus.inside.pop()
        weight = getattr(module, "weight", None)
        if isinstance(output, Tensor) and isinstance(weight, Tensor) and weight.ndim > 1:
            deviations[names[module]] = float(output.detach().float().std())

    for module in names:
        hooks.append(module.register_forward_pre_hook(entering))
        hooks.append(module.register_forward_hook(leaving))
    try:
        with setup.restored():
            training = Training(setup)
            with relus:
                training.gradients(setup.few)
            weights = dict(setup.task.net.named_parameters())
            measured = []
            for name, deviation in deviations.items():
                weight = weights.get(f"{name}.weight")
                known = weight is not None and weight.grad is not None
                gradient = float(weight.grad.double().square().mean().sqrt()) if known else 0.0  # type: ignore[union-attr]
                measured.append(Layer(name, deviation, gradient))
    finally:
        for hook in hooks:
            hook.remove()
    return measured, {name: float(of.float().mean()) for name, of in relus.dead.items() if len(of) >= FEW_CHANNELS}


class _Relus(TorchFunctionMode):
    """Look at what comes out of every ReLU, be it a module or a function."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.dead: dict[str, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function; note which channels are zero everywhere."""
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("relu", "relu_") and isinstance(output, Tensor) and output.ndim == 4:
            name, number = (self.inside or ["network"])[-1], 2
            base = name
            while name in self.dead:  # a module that is called several times, or a block with several functions
                name, number = f"{base} ({number})", number + 1
            self.dead[name] = (output.detach() == 0).all(3).all(2).all(0)
        return output


def norms(setup: Setup) -> Iterator[Finding]:
    """Find norms whose running statistics training does not move: frozen ones."""
    known = {
        name: module
        for name, module in setup.task.net.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
    }
    if not known:
        yield Finding("norms", "pass", "no norm keeps running statistics")
        return
    several: dict[nn.Module, bool] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # one value a channel has no statistics, and seg's norms then use what they have
        several[module] = inputs[0].numel() > inputs[0].shape[1]

    hooks = [module.register_forward_pre_hook(look) for module in known.values()]
    try:
        with setup.restored(), torch.no_grad():
            before = {name: module.running_mean.clone() for name, module in known.items()}  # type: ignore[union-attr,operator]
            variances = {name: module.running_var.clone() for name, module in known.items()}  # type: ignore[union-attr,operator]
            setup.task.train()
            setup.logits(setup.few)
            still = [
                name
                for name, module in known.items()
                if several.get(module) and torch.equal(before[name], module.running_mean)  # type: ignore[arg-type]
            ]
    finally:
        for hook in hooks:
            hook.remove()
    untouched = [name for name in still if not before[name].any() and bool((variances[name] == 1).all())]
    if untouched and not setup.random_weights:
        yield Finding(
            "norms",
            "fail",
            f"{counted(len(untouched), 'norm')} of {len(known)} are frozen with statistics that nobody has measured "
            "(mean 0, variance 1)",
            "let them train, or load weights that bring their statistics",
            [Place(name) for name in untouched],
        )
    elif still:
        yield Finding(
            "norms",
            "warn" if len(still) < len(known) else "pass",
            f"{counted(len(still), 'norm')} of {len(known)} are frozen, with the statistics of the weights that were "
            "loaded",
            "meant where batches are too small for statistics of their own; otherwise let them train",
            [Place(name) for name in still] if len(still) < len(known) else [],
        )
    else:
        yield Finding(
            "norms", "pass", f"running statistics of {counted(len(known), 'norm')} follow the training batches"
        )
