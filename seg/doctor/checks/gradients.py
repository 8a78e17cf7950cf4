"""Check that every parameter learns: it is in the optimiser, it is used, and a finite gradient reaches it."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from seg.doctor.findings import Finding, Place, counted
from seg.doctor.setup import Setup, Training

STEPS = 3
"""A layer after one that starts at zero has a gradient from the second step on; one in three drops no path for good."""
GENTLE = 0.01
"""Share of the configured rate in between: what this check finds must not depend on the rate."""


def gradients(setup: Setup) -> Iterator[Finding]:
    """Find parameters that are unused, cut off by a detached branch, without a finite gradient, or never updated."""
    task = setup.task
    named = {name: parameter for name, parameter in task.named_parameters() if parameter.requires_grad}
    frozen = sum(not parameter.requires_grad for parameter in task.parameters())
    if not named:
        yield Finding(
            "gradients", "fail", "no parameter is trained: all are frozen", "requires_grad must be true for some"
        )
        return
    called: set[nn.Module] = set()
    hooks = [module.register_forward_hook(lambda m, *_: called.add(m)) for module in task.modules()]
    missing, zero, infinite = set(named), set(named), set()
    try:
        with setup.restored():
            training = Training(setup)
            for _ in range(STEPS):
                training.gradients(setup.few)
                for name, parameter in named.items():
                    if parameter.grad is None:
                        continue
                    missing.discard(name)
                    if not bool(parameter.grad.isfinite().all()):
                        infinite.add(name)
                    elif bool(parameter.grad.any()):
                        zero.discard(name)
                if infinite:
                    break  # a step would carry them everywhere
                training.move(GENTLE)
            held = {id(parameter) for group in training.optimizer.param_groups for parameter in group["params"]}
    finally:
        for hook in hooks:
            hook.remove()
    owners = {
        f"{prefix}.{name}" if prefix else name: module
        for prefix, module in task.named_modules()
        for name, _ in module.named_parameters(recurse=False)
    }
    unused = {name for name in missing if owners[name] not in called}
    detached = missing - unused
    # biases before a norm have none but rounding's: a whole weight without any is cut off by what comes after it
    dead = {name for name in zero - missing - infinite if named[name].ndim > 1}
    left_out = {name for name, parameter in named.items() if id(parameter) not in held}
    found = [
        (infinite, "fail", "have gradients that are NaN or infinite", "look at input and loss; trainer.precision: 32 "
         "tells whether the number format is to blame"),
        (detached, "fail", "are used, but no gradient comes back to them", "their output is detached (.detach(), "
         ".data, no_grad, argmax, a numpy detour) or never reaches the loss"),
        (dead, "fail", f"have gradients of exactly zero in {STEPS} steps", "what follows them gives the same for all "
         "inputs: dead ReLUs, a multiplication by zero, saturation"),
        (left_out, "fail", "are in none of the optimiser's groups", "the task's parameter_groups must list all that "
         "require gradients"),
        (unused, "warn", "are never used", "take them out of the network, or use them: they cost memory, and training "
         "in several processes (DDP) refuses them"),
    ]  # fmt: skip
    healthy = True
    for names, severity, text, cure in found:
        if names:
            healthy = False
            yield Finding(
                "gradients",
                severity,  # type: ignore[arg-type]
                f"{counted(len(names), 'parameter')} of {len(named)} {text}",
                cure,
                _places(names, named),
            )
    if healthy:
        also = f"; {counted(frozen, 'other is', 'others are')} frozen" if frozen else ""
        yield Finding("gradients", "pass", f"all {len(named)} parameters receive finite gradients{also}")


def _places(names: set[str], named: Mapping[str, Tensor]) -> Sequence[Place]:
    return [Place(name, " × ".join(map(str, parameter.shape))) for name, parameter in named.items() if name in names]
