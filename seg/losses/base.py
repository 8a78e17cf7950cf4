"""What all losses share: checks of the input, float32 under autocast, and the hook for pixel counts."""

import torch
from torch import Tensor, nn


class Loss(nn.Module):
    """Check what goes in and leave precision; what all losses share.

    Args:
        ignore_index: the label of pixels that add neither loss nor gradient.

    """

    is_pixel_mean = False
    """Whether it is a single mean over pixels, which `seg.pixel_mean` makes exact over processes and batches."""

    def __init__(self, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    @property
    def needs_pixel_counts(self) -> bool:
        """Whether `set_pixel_counts` must be called before the first step of a fit."""
        return False

    def set_pixel_counts(self, pixels: Tensor, image_pixels: Tensor) -> None:
        """Take the training split's counts (C,): pixels of each class, and pixels of the images that contain it."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, C, H, W) for integer labels (B, H, W)."""
        check(logits, target, self.ignore_index)
        with torch.autocast(logits.device.type, enabled=False):
            return self.compute(logits if logits.dtype is torch.float64 else logits.float(), target.long())

    def compute(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of checked float32 or float64 logits and int64 labels."""
        raise NotImplementedError


def check(logits: Tensor, target: Tensor, ignore_index: int) -> None:
    """Refuse logits and labels that do not fit each other.

    Values are looked at on the CPU only; on a GPU that would wait for the device at every step.

    Raises:
        ValueError: says what was given and what is accepted.

    """
    if logits.ndim != 4 or not logits.dtype.is_floating_point:
        raise ValueError(
            f"logits: {tuple(logits.shape)} of {logits.dtype}, but floats (batch, classes, H, W) are expected"
        )
    if target.dtype.is_floating_point or target.dtype.is_complex or target.dtype is torch.bool:
        raise ValueError(f"target: type {target.dtype}, but labels are integers (int64 or uint8)")
    if target.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"target: size {tuple(target.shape)} for logits of {tuple(logits.shape)}; "
            f"{(logits.shape[0], *logits.shape[2:])} (batch, height, width) is expected"
        )
    classes = logits.shape[1]
    if target.device.type != "cpu" or torch.compiler.is_compiling() or target.numel() == 0:
        return
    low, high = (int(value) for value in target.aminmax())
    if low >= 0 and high < classes:
        return
    wrong = target[((target < 0) | (target >= classes)) & (target != ignore_index)]
    if wrong.numel():
        shown = ", ".join(str(value) for value in sorted(set(wrong.tolist()))[:8])
        raise ValueError(
            f"target: label {shown} where there are {classes} classes; "
            f"labels are 0..{classes - 1} or {ignore_index} (ignore)"
        )


def ignore(loss: nn.Module, label: int) -> None:
    """Let a loss, and all losses in it, ignore the pixels of a label."""
    for module in loss.modules():
        if hasattr(module, "ignore_index"):
            setattr(module, "ignore_index", label)  # noqa: B010 (mypy takes it for a submodule)
