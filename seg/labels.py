"""From logits to labels: the class of the largest logit of every pixel."""

import torch
from torch import Tensor

_STRIP = 1 << 18  # pixels: what is worked on together stays in the processor's cache


def largest_class(logits: Tensor) -> Tensor:
    """Return the labels (B, H, W) of logits (B, C, H, W): the first of the largest channels.

    The same as `logits.argmax(1)` without its cost on a CPU. There torch walks channel by channel through memory that
    is laid out pixel by pixel; comparing whole strips of one channel with the largest so far takes a fifth of the time
    of `logits.max(1).indices`, which itself is several times faster than `argmax`.

    Returns:
        uint8 where the strips were compared, int64 elsewhere: on GPUs and for logits in channels-last layout.

    """
    logits = logits.detach()
    classes = logits.shape[1]
    if logits.device.type != "cpu" or not logits.is_contiguous() or not 2 <= classes <= 256:
        return logits.max(1).indices
    labels = torch.zeros(len(logits), *logits.shape[2:], dtype=torch.uint8)
    larger = torch.empty(_STRIP, dtype=torch.bool)
    for image, image_labels in zip(logits.flatten(2), labels.flatten(1), strict=True):
        for strip, strip_labels in zip(image.split(_STRIP, 1), image_labels.split(_STRIP), strict=True):
            largest = strip[0].clone()
            here = larger[: len(largest)]
            candidate = here.view(torch.uint8)
            for index in range(1, classes):
                torch.gt(strip[index], largest, out=here)
                # Indices only grow, so that the larger of two is the later: no slow masked write.
                torch.maximum(strip_labels, candidate.mul_(index), out=strip_labels)
                torch.maximum(strip[index], largest, out=largest)
    return labels
