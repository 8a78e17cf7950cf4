"""Is this data set fit to train on? Lists its files, reads each once, and runs every check over what was measured."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from seg.data.base import SegmentationData
from seg.data.labelme import Labelme
from seg.doctor import files, labels, leakage, names, objects
from seg.doctor.findings import Finding, Severity, worst
from seg.doctor.listing import list_files
from seg.doctor.measure import Measuring, Scale, measure
from seg.doctor.survey import Survey

Check = Callable[[Survey], Iterator[Finding]]

CHECKS: dict[str, tuple[str, tuple[Check, ...]]] = {
    "lists": ("every split lists images with masks", ()),
    "files": ("all files are there and can be read", (files.unreadable,)),
    "annotations": ("all annotations belong to their images and lie inside", ()),
    "sizes": ("image and mask have one size, orientation applied", (files.sizes,)),
    "label values": ("all values in the masks are classes, or 255", (labels.values,)),
    "label names": ("all names are different", (names.check,)),
    "empty masks": ("every mask holds something", (labels.empty,)),
    "classes": ("every split holds every class, none rarely", (labels.frequencies,)),
    "object sizes": ("the objects suit the network's stride", (objects.sizes,)),
    "duplicates": ("no image is there twice", (leakage.duplicates, leakage.films)),
}
"""Name of a check -> what is said where nothing was found, and the functions that look."""


@dataclass(frozen=True)
class Report:
    """Hold an examination's outcome.

    Args:
        title: of the data set.
        survey: what was measured.
        findings: one or more of each check, in the order of `CHECKS`.

    """

    title: str
    survey: Survey
    findings: list[Finding]

    @property
    def verdict(self) -> Severity:
        """The worst of all findings."""
        return worst(self.findings)

    def plain(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        data, survey = self.survey.data, self.survey
        classes = {
            split: [
                {"name": name, "pixels": pixels, "images": images}
                for name, pixels, images in zip([*data.class_names, None], *table.tolist(), strict=True)
            ]
            for split, table in survey.frequencies.items()
        }
        return {
            "format": 1,
            "data": type(data).__name__,
            "root": str(data.root),
            "verdict": self.verdict,
            "stride": survey.scale.stride,
            "receptive_field": survey.scale.receptive_field,
            "pairs": {split: len(part) for split, part in survey.splits.items()},
            "classes": classes,
            "findings": [finding.plain() for finding in self.findings],
        }


def examine(
    data: SegmentationData,
    scale: Scale,
    title: str,
    guessed: bool = False,
    workers: int | None = None,
    before: Sequence[Finding] = (),
) -> Report:
    """Examine a data set; no file of it is an error here, but a finding.

    Args:
        data: the data module; it is left without the files that cannot be used.
        scale: what makes an object tiny or large.
        title: what the data set is called in the report.
        guessed: nobody has said how the files are divided.
        workers: processes that read; one a core where not given.
        before: what was found when the data module was made.

    """
    listed, findings = list_files(data, guessed)
    findings = [*before, *findings]
    pairs = list(dict.fromkeys(pair for part in listed.values() for pair in part))
    measured = dict(zip(pairs, measure(pairs, Measuring(data._reader(), data.labels, scale), workers), strict=True))
    survey = Survey(data, {split: [measured[pair] for pair in part] for split, part in listed.items()}, scale)
    found: dict[str, list[Finding]] = {name: [] for name in CHECKS}
    for finding in findings:
        found[finding.check].append(finding)
    for _, checks in CHECKS.values():
        for check in checks:
            for finding in check(survey):
                found[finding.check].append(finding)
    if not isinstance(data, Labelme):
        del found["annotations"]
    if not survey.images:  # then nothing was looked at, and nothing passed
        found = {name: of for name, of in found.items() if of}
    return Report(title, survey, [finding for name, of in found.items() for finding in of or [_passed(name)]])


def _passed(name: str) -> Finding:
    return Finding(name, "pass", CHECKS[name][0])
