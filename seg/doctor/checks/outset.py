"""Checks of the network before the first step: its loss is that of one who knows nothing, its logits are raw."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.doctor.findings import Finding
from seg.doctor.setup import Setup

HIGH, FAR_TOO_HIGH = 1.5, 3.0
"""Times the loss of equal logits. Logits that are normally distributed with deviation s cost s² / 2 more: for 11
classes 1.5 is reached at s = 1.5, 3 at s = 3, where usual initialisations give 0.3 to 1."""
LOW = 0.5
"""Times the entropy of the class shares, which is what one pays who knows the shares, and nothing of the image."""


def first_loss(setup: Setup) -> Iterator[Finding]:
    """Compare the first loss with that of a network that gives every class the same probability, −ln(1/C)."""
    target = setup.few["mask"].long()
    with torch.no_grad(), setup.restored():
        setup.task.train()
        logits = setup.logits(setup.few).float()
        loss = float(setup.task.loss(logits, target))
        uniform = float(setup.task.loss(torch.zeros_like(logits), target))
        entropy = float(functional.cross_entropy(logits, target, ignore_index=setup.data.ignore_index))
    classes = setup.data.num_classes
    know_shares = _entropy_of_shares(target, setup.data.ignore_index)
    name = type(setup.task.loss).__name__
    setup.figures["loss"] = {"first": loss, "uniform": uniform, "cross_entropy": entropy, "share_entropy": know_shares}
    text = (
        f"{name} starts at {loss:.3f}; one that knows nothing pays {uniform:.3f}. Cross-entropy is {entropy:.2f}, "
        f"−ln(1/{classes}) = {math.log(classes):.2f}, and {know_shares:.2f} for who knows the classes' shares"
    )
    # every loss is compared in its own terms, and in those of cross-entropy, which has no upper bound to hide under
    excess = max(entropy / math.log(classes), loss / uniform if uniform > 0 else 1.0)
    if not (math.isfinite(loss) and math.isfinite(entropy)):
        yield Finding("loss", "fail", f"the first loss is {loss}, cross-entropy {entropy}", "look at input and layers")
    elif excess > FAR_TOO_HIGH:
        yield Finding(
            "loss",
            "fail",
            f"{text}: the network is sure of wrong answers before it has seen anything",
            "normalise the images (input), start from smaller weights in the last layers (layers), and see that "
            "weights which are loaded belong to these classes",
        )
    elif excess > HIGH:
        yield Finding(
            "loss",
            "warn",
            f"{text}: the network starts with opinions, which the first steps only unlearn",
            "smaller weights in the last layer, or a warm-up of the learning rate",
        )
    elif entropy < LOW * know_shares:
        yield Finding(
            "loss",
            "warn",
            f"{text}: it knows the answers already",
            "fine where it starts from weights trained on this task; otherwise the labels leak into the images",
        )
    else:
        yield Finding("loss", "pass", text)


def _entropy_of_shares(target: Tensor, ignore: int) -> float:
    counts = target[target != ignore].bincount().double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log()).sum())


def raw_logits(setup: Setup) -> Iterator[Finding]:
    """See that the last layer neither cuts logits off at 0 nor makes probabilities of them."""
    with torch.no_grad(), setup.restored():
        setup.task.train()
        _wake(setup.task.net)
        logits = setup.logits(setup.few).float()
    low, high = float(logits.min()), float(logits.max())
    text = f"logits lie in {low:.3g} … {high:.3g}"
    if high > low and low >= 0:
        if bool(((logits.sum(1) - 1).abs() < 1e-2).all()) or high <= 1:
            cause, cure = "probabilities", "softmax or sigmoid: the losses take raw logits and do that themselves"
        else:
            cause, cure = "never negative", "activation (ReLU): what it cuts off no gradient brings back"
        yield Finding("logits", "fail", f"{text}: they are {cause}", f"let the network end without the final {cure}")
    elif high <= 0 and high > low:
        yield Finding(
            "logits",
            "fail",
            f"{text}: they are never positive",
            "let the network end in its convolution (no log-softmax)",
        )
    elif high == low:
        yield Finding(
            "logits", "fail", "all logits are equal: nothing of the image reaches them", "see gradients and layers"
        )
    else:
        yield Finding("logits", "pass", f"{text}, of both signs")


def _wake(net: nn.Module) -> None:
    """Give layers that are initialised to zero, as FCN's scores, random weights: through zeros one sees nothing."""
    for parameter in net.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
