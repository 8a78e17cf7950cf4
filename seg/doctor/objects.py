"""Check of the objects' sizes against what the network can resolve and overlook."""

from collections.abc import Iterator

from seg.doctor.findings import Finding, Place, counted
from seg.doctor.measure import Measured, Objects
from seg.doctor.survey import Survey

SHARE = 0.25
"""Share of a class's pixels in tiny objects from which on it is told."""
LARGE_SHARE = 0.5
"""Share of a class's pixels in objects beyond the receptive field from which on it is told."""


def sizes(survey: Survey) -> Iterator[Finding]:
    """Find classes whose objects are tiny beside the network's stride, or larger than its receptive field."""
    of_class: dict[int, list[tuple[Measured, Objects]]] = {}
    for measured in survey.readable():
        for label, objects in measured.objects.items():
            of_class.setdefault(label, []).append((measured, objects))
    scale = survey.scale
    tiny, large = [], []
    for label, found in sorted(of_class.items()):
        name, total = survey.data.class_names[label], sum(objects.pixels for _, objects in found)
        of_tiny = sum(objects.tiny_pixels for _, objects in found)
        if of_tiny >= SHARE * total:
            number, of = (sum(getattr(objects, field) for _, objects in found) for field in ("tiny", "number"))
            note = f"{number} of {of} objects, {100 * of_tiny / total:.0f} % of the pixels"
            shown = max(found, key=lambda entry: entry[1].tiny_pixels)
            tiny.append(Place(name, note, shown[0].pair, box=shown[1].example))
        of_large = sum(objects.large_pixels for _, objects in found)
        if of_large >= LARGE_SHARE * total:
            shown = max(found, key=lambda entry: entry[1].large_pixels)
            large.append(Place(name, f"{100 * of_large / total:.0f} % of the pixels", shown[0].pair))
    at = f" at `resize` {scale.resize[0]}×{scale.resize[1]}" if scale.resize else ""
    if tiny:
        yield Finding(
            "object sizes",
            "warn",
            f"{counted(len(tiny), 'class', 'classes')} with {100 * SHARE:.0f} % or more of the pixels in objects of "
            f"fewer than {scale.stride} pixels{at}: each fits into one cell of the network's coarsest maps",
            "larger images (`resize`), a network with finer maps or skip connections (U-Net, DeepLab v3+), and "
            "data.rare_crops keep them; objects of a few pixels are often slips of the pen",
            tiny,
        )
    if large:
        yield Finding(
            "object sizes",
            "warn",
            f"{counted(len(large), 'class', 'classes')} with {100 * LARGE_SHARE:.0f} % or more of the pixels in "
            f"objects larger than the network's receptive field of {scale.receptive_field} pixels{at}",
            "smaller images (`resize`), or a network that sees more (deeper, dilated, with pyramid pooling)",
            large,
        )
