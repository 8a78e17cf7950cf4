"""Checks of what goes in and comes out: sizes, types, classes, and pixel values as a network wants them."""

import time
from collections.abc import Iterator

import torch

from seg.doctor.findings import Finding
from seg.doctor.setup import Setup, taken
from seg.models.profile import evaluating

FARTHEST = 3.0
"""Mean of a normalised band beyond which it is not normalised: ImageNet's statistics take 0..255 to −2.1..2.7."""
WIDEST = 3.0
"""Standard deviation above which it is not: that of half black, half white is 2.3 under ImageNet's statistics."""
NARROWEST = 0.02
"""Standard deviation below which there is nothing to see: values of 0..1 taken for 0..255 have 0.005."""
NARROW = 0.15
"""Standard deviation from which down contrast is so low that the data's own statistics would help."""


def shapes(setup: Setup) -> Iterator[Finding]:
    """See that the network gives a logit for each class and pixel, in training and for whole validation images."""
    batch, data = setup.batch, setup.data
    images, masks = batch["image"], batch["mask"]
    small = setup.few
    with torch.no_grad(), setup.restored():
        setup.task.train()
        with setup.precision():
            output = setup.task.net(setup.task.normalize(small["image"]))
    outputs = [output[0], *output[1]] if isinstance(output, tuple) else [output]
    for logits in outputs:
        if logits.ndim != 4 or logits.shape[1] != data.num_classes:
            yield Finding(
                "shapes",
                "fail",
                f"the network gives {tuple(logits.shape)} for images of {tuple(small['image'].shape)}, but "
                f"(batch, {data.num_classes} classes, height, width) is expected",
                "its last layer needs a channel a class",
            )
            return
        if not logits.isfinite().all():
            yield Finding(
                "shapes",
                "fail",
                "the network's logits are NaN or infinite before the first step",
                "look at the initialisation, at the images' values, and at the precision (trainer.precision: 32)",
            )
            return
    described = (
        f"images {' × '.join(map(str, images.shape))} {str(images.dtype).removeprefix('torch.')}, masks "
        f"{' × '.join(map(str, masks.shape))} → logits of {data.num_classes} classes"
    )
    yield from _validation(setup, described)


def _validation(setup: Setup, described: str) -> Iterator[Finding]:
    """See that a whole validation image passes, where there is time for one."""
    begin = time.monotonic()
    with torch.no_grad(), evaluating(setup.task):
        setup.logits(taken(setup.few, slice(1)))
        per_pixel = (time.monotonic() - begin) / setup.few["image"][0, 0].numel()
        sample = setup.data.datasets["val"][0]
        size = tuple(sample["image"].shape[-2:])
        if per_pixel * size[0] * size[1] > max(0.0, 0.1 * setup.clock.seconds):
            yield Finding("shapes", "pass", described)
            yield Finding(
                "shapes",
                "skip",
                f"a whole validation image of {size[0]}×{size[1]} would take too long here, and was not tried",
                "give more time with --seconds",
            )
            return
        batch = setup.on_device({"image": sample["image"][None], "mask": sample["mask"][None]})
        logits = setup.logits(batch)
    if logits.shape[1:] != (setup.data.num_classes, *sample["mask"].shape):
        yield Finding(
            "shapes",
            "fail",
            f"a validation image of {size[0]}×{size[1]} gives logits {tuple(logits.shape)}",
            "the network must take images of any size; pad to its stride and cut off again",
        )
    else:
        yield Finding("shapes", "pass", f"{described}; whole validation images of {size[0]}×{size[1]} pass too")


def pixels(setup: Setup) -> Iterator[Finding]:
    """See that images reach the network normalised: mean near 0, deviation near 1."""
    values = setup.task.normalize(setup.pool["image"]).float()
    if not values.isfinite().all():
        yield Finding(
            "input", "fail", "normalised images hold NaN or infinite values", "look at data.mean and data.std"
        )
        return
    means, deviations = values.mean((0, 2, 3)).tolist(), values.std((0, 2, 3)).tolist()
    setup.figures["input"] = {"mean": means, "std": deviations}
    of = ", ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in zip(means[:8], deviations[:8], strict=True))
    text = f"what the network sees, band by band (mean ± deviation): {of}"
    cure = "data.mean and data.std are in the files' own values (0..255 for 8 bits); data.stats: auto measures them"
    if max(map(abs, means)) > FARTHEST or max(deviations) > WIDEST or min(deviations) < NARROWEST:
        yield Finding("input", "fail", f"images are not normalised; {text}", cure)
    elif min(deviations) < NARROW:
        yield Finding("input", "warn", f"images of very low contrast; {text}", cure)
    else:
        yield Finding("input", "pass", text)
