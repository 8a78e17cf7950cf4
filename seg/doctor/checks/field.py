"""Check of the objects' sizes against the network's stride and receptive field, on a part of the training split."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from seg.doctor import objects
from seg.doctor.findings import Finding, counted
from seg.doctor.measure import Measuring
from seg.doctor.network import scale_of
from seg.doctor.setup import Setup
from seg.doctor.survey import Survey

LOOKED_AT = 48
"""Images, evenly spread, that are measured in a second or two. `seg doctor data` takes all."""


def field(setup: Setup) -> Iterator[Finding]:
    """Find classes whose objects are tiny beside the stride, or larger than the receptive field."""
    data, dataset = setup.data, setup.data.datasets["train"]
    # a network that brings its maps back to the images' size, as U-Net does, loses nothing in its coarsest ones
    scale = scale_of(setup.task.net, data.resize)._replace(stride=setup.output_scale)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(int))
    measuring = Measuring(dataset.reader, data.labels, scale)
    survey = Survey(data, {"train": [measuring(dataset.pairs[int(index)]) for index in chosen]}, scale)
    setup.figures["objects"] = {"cell": scale.stride, "receptive_field": scale.receptive_field}
    found = [replace(finding, check="objects") for finding in objects.sizes(survey)]
    yield from found
    if not found:
        reach = f"receptive field {scale.receptive_field}" if scale.receptive_field else "a field of the whole image"
        yield Finding(
            "objects",
            "pass",
            f"classes are decided in cells of {counted(scale.stride, 'pixel')}; that and {reach} suit the objects of "
            f"{len(chosen)} training images",
        )
