"""Checks of the files as such: that they can be read, and that image and mask have one size."""

from collections.abc import Iterator

from seg.doctor.findings import Finding, Place, counted
from seg.doctor.measure import Measured
from seg.doctor.survey import Survey

SMALLEST = 32
"""Height and width below which networks pad an image with more zeros than it has pixels."""


def unreadable(survey: Survey) -> Iterator[Finding]:
    """Find files that are not there, damaged, or not what an image or a mask is."""
    missing = [Place(_absent(measured), _error(measured)) for measured in survey.images if measured.missing]
    if missing:
        yield Finding(
            "files",
            "fail",
            f"{counted(len(missing), 'image or mask is', 'images or masks are')} not there",
            "complete the data set, or take them out of the list",
            missing,
        )
    images, masks = [], []
    for measured in survey.images:
        if measured.image_error and not measured.missing:
            images.append(Place(measured.pair.image, measured.image_error))
        drawn = measured.pair.mask.endswith(".json")  # at the size of the image, and so not without it
        if measured.mask_error and not measured.missing and not (drawn and measured.image_error):
            note = f"{measured.pair.id}: {measured.mask_error}" if drawn else measured.mask_error
            masks.append(Place(measured.pair.mask, note, measured.pair))
    for what, places in (("image", images), ("mask", masks)):
        if places:
            yield Finding(
                "files",
                "fail",
                f"{counted(len(places), what)} cannot be read",
                "copy or export them again, or take them out of the list",
                places,
            )


def sizes(survey: Survey) -> Iterator[Finding]:
    """Find masks of another size than their image, with orientation told apart, and images too small to learn from."""
    turned: list[Place] = []
    other: list[Place] = []
    small, unsure = [], []
    for measured in survey.images:
        image, mask = measured.image_size, measured.mask_size
        if image is None or mask is None:
            continue
        if image != mask:
            text = f"image {image.height}×{image.width}, mask {mask.height}×{mask.width} (height × width)"
            exif = measured.orientation >= 5 and (mask.height, mask.width) == (image.width, image.height)
            (turned if exif else other).append(Place(measured.pair.mask, text, measured.pair))
        elif measured.orientation != 1 and not measured.pair.mask.endswith(".json") and _hidden(measured):
            note = f"EXIF orientation {measured.orientation}"
            unsure.append(Place(measured.pair.image, note, measured.pair))
        if min(image) < SMALLEST:
            small.append(Place(measured.pair.image, f"{image.height}×{image.width}", measured.pair))
    if turned:
        yield Finding(
            "sizes",
            "fail",
            f"{counted(len(turned), 'mask')} drawn on the image as stored, not as its EXIF orientation shows it",
            "turn these masks upright, or remove the orientation from the images (exiftool -Orientation=1 -n)",
            turned,
        )
    if other:
        yield Finding(
            "sizes",
            "fail",
            f"{counted(len(other), 'mask')} of another size than the image",
            "draw or export the masks at the image's own size, upright",
            other,
        )
    if unsure:
        yield Finding(
            "sizes",
            "warn",
            f"{counted(len(unsure), 'image')} turned by EXIF orientation, and the size does not tell whether their "
            "masks are too",
            "look at the overlays: image and mask must agree",
            unsure,
        )
    if small:
        yield Finding(
            "sizes",
            "warn",
            f"{counted(len(small), 'image')} with a side below {SMALLEST} pixels",
            "take them out, or enlarge all images with `resize`",
            small,
        )


def _hidden(measured: Measured) -> bool:
    """Tell whether turning a mask by the orientation, or not, leaves its size alone."""
    assert measured.image_size is not None
    return measured.orientation < 5 or measured.image_size.height == measured.image_size.width


def _absent(measured: Measured) -> str:
    return measured.pair.image if measured.image_error else measured.pair.mask


def _error(measured: Measured) -> str:
    return measured.image_error or measured.mask_error or "a file that it depends on is not there"
