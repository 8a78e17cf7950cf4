"""What is odd about a folder of labelme files, all of it: where the data module stops at the first kind of error."""

from collections.abc import Iterator
from pathlib import Path

from seg.convert.labelme_file import read_annotation
from seg.convert.labelme_images import Tree, find_image
from seg.convert.labelme_labels import refuse_unknown
from seg.convert.labelme_sources import Source, Sources, read_sources
from seg.data.classes import IGNORE
from seg.data.dataset import Pair
from seg.data.labelme import Labelme
from seg.doctor.findings import Finding, Place, counted
from seg.doctor.names import nearly_equal
from seg.predict.annotations import unseen

_SLACK = 1  # pixels that a click on the rim may lie outside


def examine(data: Labelme) -> list[Finding]:
    """Return what is found in the annotations, and make `data` go on without those that cannot be used.

    Labels that are no class are told, then ignored, so that all else can be measured too.
    """
    sources = read_sources(data.root)
    findings = [*_broken(sources), *_remarked(sources), *_unseen(sources), *_outside(sources), *_labels(data, sources)]
    unknown = {shape.label for source in sources.good for shape in source.annotation.shapes} - set(data.values)
    data.values |= dict.fromkeys(unknown - {data.drawing.hole_label}, IGNORE)
    data.skip_bad = True
    drawn = sources._replace(bad={}).drawn(data.values, data.drawing)
    if drawn.bad:
        findings.append(
            Finding(
                "annotations",
                "fail",
                f"{counted(len(drawn.bad), 'annotation')} cannot be drawn",
                "correct the shapes in labelme, or leave these files out with data.skip_bad: true",
                [Place(str(path), reason) for path, reason in drawn.bad.items()],
            )
        )
    return findings


def _broken(sources: Sources) -> Iterator[Finding]:
    """Tell files that cannot be used by what is wrong: the file, its image, or the way from one to the other."""
    unreadable, unmatched, tree = [], [], Tree(sources.root)
    for path, reason in sorted(sources.bad.items()):
        place = Place(str(path), reason)
        try:
            annotation = read_annotation(path)
        except (ValueError, OSError):
            unreadable.append(place)
            continue
        try:
            find_image(annotation, tree)
        except (ValueError, OSError):
            image = tree.named(annotation) or tree.beside(annotation)
            unmatched.append(place._replace(pair=Pair(path.stem, str(image), "") if image else None))
        else:
            unreadable.append(place)
    if unreadable:
        yield Finding(
            "files",
            "fail",
            f"{counted(len(unreadable), 'annotation')} damaged, or with a damaged image",
            "copy them again, correct them in labelme, or leave them out with data.skip_bad: true",
            unreadable,
        )
    if unmatched:
        yield Finding(
            "annotations",
            "fail",
            f"{counted(len(unmatched), 'annotation')} without an image, or naming one that is another's",
            "correct imagePath, imageHeight and imageWidth (open the image in labelme and save), or leave these files "
            "out with data.skip_bad: true",
            unmatched,
        )


def _remarked(sources: Sources) -> Iterator[Finding]:
    remarks = [
        Place(str(source.annotation.path), note, _pair(source)) for source in sources.good for note in source.notes
    ]
    if remarks:
        yield Finding(
            "annotations",
            "warn",
            f"{counted(len(remarks), 'annotation')} odd, but used: another image named, or another size stated",
            "see whether the shapes lie on the image as they should; saving the file in labelme corrects what it says",
            remarks,
        )


def _unseen(sources: Sources) -> Iterator[Finding]:
    places = [
        Place(str(source.annotation.path), "as `seg predict` wrote it", _pair(source))
        for source in sources.good
        if unseen(source.annotation.path)
    ]
    if places:
        yield Finding(
            "annotations",
            "warn",
            f"{counted(len(places), 'annotation')} predicted, and saved by nobody since: they train and score as truth",
            "correct them in labelme (change the flag `uncertain` of those that are right) and save, or take them out",
            places,
        )


def _outside(sources: Sources) -> Iterator[Finding]:
    places = []
    for source in sources.good:
        if source.frame is None:
            continue
        size = source.frame.size
        for number, shape in enumerate(source.annotation.shapes, 1):
            x, y = shape.points[0::2], shape.points[1::2]
            if shape.kind == "circle":  # the rim's point only says how large it is
                x, y = x[:1], y[:1]
            beyond = max(-min(x), -min(y), max(x) - size.width, max(y) - size.height)
            if beyond > _SLACK:
                note = f"shape {number} ({shape.label}, {shape.kind}) is {beyond:.0f} pixels outside of "
                note += f"{size.height}×{size.width}"
                places.append(Place(str(source.annotation.path), note, _pair(source), outline=tuple(shape.points)))
    if places:
        yield Finding(
            "annotations",
            "warn",
            f"{counted(len(places), 'shape')} reaching beyond the image",
            "what lies outside is cut off; shapes that lie outside altogether were drawn on another image",
            places,
        )


def _labels(data: Labelme, sources: Sources) -> Iterator[Finding]:
    uses: dict[str, list[Place]] = {}
    for source in sources.good:
        for shape in source.annotation.shapes:
            place = Place(str(source.annotation.path), shape.label, _pair(source), outline=tuple(shape.points))
            uses.setdefault(shape.label, []).append(place)
    uses.pop(data.drawing.hole_label or "", None)
    unknown = sorted(label for label in uses if label not in data.values)
    if unknown:
        advice = _refusal(unknown, uses, data).rpartition("\n")[2]
        places = []
        for label in unknown:
            told = _refusal([label], uses, data).partition("\n  ")[2].partition("\n")[0]
            places.append(uses[label][0]._replace(where=label, note=told.partition(": ")[2]))
        yield Finding(
            "label names",
            "fail",
            f"{counted(len(unknown), 'label')} not in the class list ({', '.join(data.class_names)})",
            advice,
            places,
        )
    yield from nearly_equal({label: places for label, places in uses.items() if not _alias(data, label)})


def _refusal(labels: list[str], uses: dict[str, list[Place]], data: Labelme) -> str:
    """Return what a fit would say of labels that are not known: a line each, and a line of advice."""
    try:
        refuse_unknown({label: [Path(place.where) for place in uses[label]] for label in labels}, data.values)
    except ValueError as error:
        return str(error)
    raise AssertionError("a label that is not known is refused")


def _alias(data: Labelme, label: str) -> bool:
    """Tell whether a label is known to stand for another one, and so is nothing to wonder about."""
    return label in data.values and label not in data.class_names


def _pair(source: Source) -> Pair | None:
    path = source.annotation.path
    return Pair(path.stem, str(source.image), str(path)) if source.image is not None else None
