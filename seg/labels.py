"""From logits to labels: the class of the largest logit of every pixel."""

import torch
from torch import Tensor

_STRIP = 1 << 16  # pixels: few enough that a strip of all channels stays in a processor's cache


def largest_class(logits: Tensor) -> Tensor:
    """Return the labels (B, H, W) of logits (B, C, H, W): the first of the largest channels.

    The same as `logits.argmax(1)` without its cost on a CPU: there torch finds an index pixel by pixel, but the largest
    value, and where it is, many pixels at a time. A fifth of the time of `logits.max(1).indices`, which is itself
    several times faster than `argmax`. Where a logit is nan, the label is any class.

    Returns:
        uint8 where that was done; int64 elsewhere, on GPUs and for logits in channels-last layout.

    """
    logits = logits.detach()
    classes = logits.shape[1]
    if logits.device.type != "cpu" or not logits.is_contiguous() or not 2 <= classes <= 255:
        return logits.max(1).indices
    labels = torch.empty(len(logits), *logits.shape[2:], dtype=torch.uint8)
    # Earlier channels weigh more, so that the heaviest of several largest is the first.
    weights = torch.arange(classes, 0, -1, dtype=torch.uint8)[:, None]
    is_largest = torch.empty(classes, min(_STRIP, labels[:1].numel()), dtype=torch.bool)  # one memory for all strips
    for image, image_labels in zip(logits.flatten(2), labels.flatten(1), strict=True):
        for strip, strip_labels in zip(image.split(_STRIP, 1), image_labels.split(_STRIP), strict=True):
            here = is_largest[:, : strip.shape[1]]
            torch.eq(strip, strip.amax(0), out=here)
            heaviest = here.view(torch.uint8).mul_(weights).amax(0)
            torch.sub(classes, heaviest.clamp_(min=1), out=strip_labels)
    return labels
