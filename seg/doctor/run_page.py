"""The report of a set-up: lines for a terminal, and one HTML page with the pictures inside."""

from collections.abc import Iterator
from html import escape

from seg.doctor.findings import Finding
from seg.doctor.page import document
from seg.doctor.pictures import embedded
from seg.doctor.run import RunReport

VERDICTS = {
    "skip": "nothing was looked at",
    "pass": "fit to be trained",
    "warn": "one may train; read the warnings first",
    "fail": "hours would be wasted: correct what failed first",
}
_PICTURE_OF = {
    "schedule": "schedule",
    "rate": "range_test",
    "augmentation": "augmentation",
    "layers": "layers",
    "overfit": "overfit",
}
"""Check -> picture that belongs to it."""
_LISTED = 50


def closing(report: RunReport) -> str:
    """Return the last line: how many findings of each kind, the verdict, and what was not looked at."""
    kinds = ("pass", "warn", "fail", "skip")
    count = {kind: sum(finding.severity == kind for finding in report.findings) for kind in kinds}
    numbers = ", ".join(f"{number} {kind}" for kind, number in count.items() if number or kind != "skip")
    left_out = list(dict.fromkeys(f.check for f in report.findings if f.severity == "skip"))
    but = f" (not fully looked at: {', '.join(left_out)})" if left_out else ""
    verdict = "nothing wrong was found so far" if report.verdict == "pass" and left_out else VERDICTS[report.verdict]
    return f"{numbers} in {report.seconds:.0f} s: {verdict}{but}"


def run_page(report: RunReport) -> str:
    """Return the page, HTML."""
    rows = (
        f"<tr><td>{escape(f.check)}</td><td style='text-align:left'><b>{f.severity}</b></td>"
        f"<td style='text-align:left'>{escape(f.text)}</td><td style='text-align:left'>{escape(f.cure)}</td></tr>"
        for f in report.findings
    )
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="faint">{escape(report.about)}</p>',
        f'<section class="{report.verdict}"><b>{escape(closing(report))}</b></section>',
        "<table><tr><th>check</th><th>verdict</th><th>reason</th><th>cure</th></tr>" + "".join(rows) + "</table>",
        *(part for finding in _shown(report) for part in _details(finding, report)),
    ]
    return document(report.title, body)


def _shown(report: RunReport) -> list[Finding]:
    """Return the findings with something to show besides the table, each picture once."""
    first = {finding.check: finding for finding in reversed(report.findings)}
    drawn = [id(first[check]) for check, name in _PICTURE_OF.items() if check in first and name in report.pictures]
    return [finding for finding in report.findings if finding.places or id(finding) in drawn]


def _details(finding: Finding, report: RunReport) -> Iterator[str]:
    yield f'<section class="{finding.severity}"><h2>{escape(finding.check)}</h2><div>{escape(finding.text)}</div>'
    name = _PICTURE_OF.get(finding.check, "")
    first = next(other for other in report.findings if other.check == finding.check)
    if name in report.pictures and first is finding:
        yield f'<figure style="max-width: 100%"><img alt="{name}" src="{embedded(report.pictures[name])}"></figure>'
    if finding.places:
        more = len(finding.places) - _LISTED
        listed = "".join(
            f'<li>{escape(place.where)} <span class="faint">{escape(place.note)}</span></li>'
            for place in finding.places[:_LISTED]
        )
        yield f"<ul>{listed}{f'<li>… and {more} more</li>' if more > 0 else ''}</ul>"
    yield "</section>"
