"""The report for a terminal: a line a check, what was found with its first places and the cure, classes in a table."""

import textwrap

from seg.columns import padded, places
from seg.doctor.data import Report
from seg.doctor.findings import Finding

_SHOWN = 3
_WIDTH = 110
VERDICTS = {
    "pass": "fit to train on",
    "warn": "one may train on it; read the warnings first",
    "fail": "not fit to train on: correct what failed first",
}


def text(report: Report) -> str:
    """Return the lines of a report."""
    survey, data = report.survey, report.survey.data
    parts = ", ".join(f"{len(part)} {split}" for split, part in survey.splits.items()) or "no pairs"
    lines = [f"{report.title}: {type(data).__name__} in {data.root}, {data.num_classes} classes, {parts}", ""]
    for finding in report.findings:
        lines += lines_of(finding)
    if survey.frequencies:
        lines += ["", *_table(report)]
    count = {kind: sum(f.severity == kind for f in report.findings) for kind in ("pass", "warn", "fail")}
    numbers = ", ".join(f"{number} {kind}" for kind, number in count.items())
    return "\n".join([*lines, "", f"{numbers}: {VERDICTS[report.verdict]}"])


def lines_of(finding: Finding) -> list[str]:
    """Return a finding's lines: what was found, its first places, and the cure."""
    mark = finding.severity if finding.severity == "pass" else finding.severity.upper()
    head = f"{mark:<6}{finding.check:<14}"
    lines = textwrap.wrap(
        finding.text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False
    )
    for place in finding.places[:_SHOWN]:
        note = " ".join(place.note.split())
        note = note.removeprefix(f"{place.where}: ")
        lines.append(" " * len(head) + f"- {place.where}" + (f": {note}" if note else ""))
    if (more := len(finding.places) - _SHOWN) > 0:
        lines.append(" " * len(head) + f"  … and {more} more")
    for number, line in enumerate(finding.cure.splitlines()):
        indent = " " * len(head) + ("→ " if number == 0 else "  ")
        lines += textwrap.wrap(
            line, _WIDTH, initial_indent=indent, subsequent_indent=" " * len(head) + "  ", break_long_words=False
        )
    return lines


def _table(report: Report) -> list[str]:
    """Return a line a class: share of the labelled pixels, and of the images that have it, in each split."""
    survey = report.survey
    names = survey.data.class_names
    wide = min(24, max(len("class"), *(places(name) for name in names)))
    lines = [f"{'class':<{wide}}" + "".join(f"{f'{split}: pixels':>17}{'images':>8}" for split in survey.frequencies)]
    for index, name in enumerate(names):
        line = padded(name, wide)
        for table in survey.frequencies.values():
            total = max(int(table[0, :-1].sum()), 1)
            line += f"{100 * int(table[0, index]) / total:>15.3f} %{int(table[1, index]):>8}"
        lines.append(line)
    return lines
