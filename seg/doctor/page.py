"""The report as one HTML page that needs nothing else: no network, no script, pictures inside."""

from collections.abc import Iterable, Iterator
from html import escape

from seg.doctor.data import Report
from seg.doctor.findings import Finding, counted
from seg.doctor.pictures import embedded, picture
from seg.doctor.summary import VERDICTS

PICTURES = 6
"""Pictures a finding."""
LISTED = 200
"""Places a finding that the page lists; JSON has them all."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #282a30; background: #fafaf8; max-width: 1040px; margin: 2em auto;
  padding: 0 1em; overflow-wrap: anywhere }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.05em; margin: 0 0 .3em }
.faint { color: #787b82 } section { border-left: 5px solid #9aa; background: #fff; padding: .8em 1em; margin: .8em 0 }
.pass { border-color: #4a9d5b; padding: .3em 1em } .warn { border-color: #e0a020 } .fail { border-color: #e22c2c }
.tag { display: inline-block; min-width: 3.2em; font-weight: 600; text-transform: uppercase; font-size: .8em }
.pictures { display: flex; flex-wrap: wrap; gap: 12px; margin: .6em 0 }
figure { margin: 0; max-width: 620px } figcaption { font-size: .8em; color: #787b82; max-width: 620px }
img { max-width: 100%; display: block }
ul { margin: .3em 0; padding-left: 1.3em; font-size: .88em }
table { border-collapse: collapse; font-size: .9em; display: block; overflow-x: auto }
td, th { padding: .15em .8em; text-align: right; overflow-wrap: normal }
td { white-space: nowrap } td:first-child, th:first-child { text-align: left }
tr:nth-child(even) { background: #f0f0ec }
.swatch { display: inline-block; width: .9em; height: .9em; border: 1px solid #999; margin-right: .5em;
  vertical-align: -.1em } .cure { margin: .3em 0; white-space: pre-line }
"""


def page(report: Report) -> str:
    """Return the page, HTML; what comes from the data set is escaped."""
    survey, data = report.survey, report.survey.data
    parts = ", ".join(f"{len(part)} {split}" for split, part in survey.splits.items()) or "no pairs"
    field = f", receptive field {survey.scale.receptive_field}" if survey.scale.receptive_field else ""
    about = (
        f"{type(data).__name__} in {data.root} · {parts} · {data.num_classes} classes · stride {survey.scale.stride}"
    )
    order = sorted(report.findings, key=lambda finding: ("fail", "warn", "pass").index(finding.severity))
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="faint">{escape(about + field)}</p>',
        f'<section class="{report.verdict}"><b>{escape(VERDICTS[report.verdict])}</b></section>',
        *(part for finding in order for part in _section(finding, report)),
        *_classes(report),
    ]
    return document(report.title, body)


def document(title: str, body: Iterable[str]) -> str:
    """Return a page, HTML, of elements whose texts are escaped already."""
    # a policy instead of trust: whatever slipped through could not fetch or run anything
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _section(finding: Finding, report: Report) -> Iterator[str]:
    tag = f'<span class="tag">{finding.severity}</span>'
    yield f'<section class="{finding.severity}"><h2>{tag} {escape(finding.check)}</h2>'
    yield f"<div>{escape(finding.text)}</div>"
    if finding.cure:
        yield f'<div class="cure faint">→ {escape(finding.cure)}</div>'
    shown = 0
    figures = []
    for place in finding.places:
        if shown == PICTURES:
            break
        drawn = picture(place, report.survey)
        if drawn is None:
            continue
        shown += 1
        caption = " · ".join(text for text in (place.where, place.note) if text)
        figures.append(
            f'<figure><img alt="{escape(caption)}" src="{embedded(drawn)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    if figures:
        yield '<div class="pictures">' + "\n".join(figures) + "</div>"
    if finding.places:
        lines = [
            f"<li>{escape(place.where)}"
            + (f' <span class="faint">{escape(place.note)}</span>' if place.note else "")
            + "</li>"
            for place in finding.places[:LISTED]
        ]
        more = f"<li>… and {len(finding.places) - LISTED} more</li>" if len(finding.places) > LISTED else ""
        folded = "<details{}><summary>{}</summary><ul>{}</ul></details>"
        yield folded.format(
            " open" if len(lines) <= 8 and not figures else "",
            counted(len(finding.places), "place"),
            "".join(lines) + more,
        )
    yield "</section>"


def _classes(report: Report) -> Iterator[str]:
    """Yield the table of classes: share of the labelled pixels and number of images, in each split."""
    tables, data = report.survey.frequencies, report.survey.data
    if not tables:
        return
    heads = "".join(f"<th>{escape(split)}: pixels</th><th>images</th>" for split in tables)
    yield f"<h2>Classes</h2><table><tr><th>class</th>{heads}</tr>"
    for index, (name, color) in enumerate(zip(data.class_names, data.class_colors, strict=True)):
        swatch = f'<span class="swatch" style="background: rgb({color[0]}, {color[1]}, {color[2]})"></span>'
        cells = ""
        for table in tables.values():
            total = max(int(table[0, :-1].sum()), 1)
            cells += f"<td>{100 * int(table[0, index]) / total:.3f} %</td><td>{int(table[1, index])}</td>"
        yield f"<tr><td>{swatch}{escape(name)}</td>{cells}</tr>"
    cells = "".join(
        f"<td>{100 * int(t[0, -1]) / max(int(t[0].sum()), 1):.3f} %</td><td>{int(t[1, -1])}</td>"
        for t in tables.values()
    )
    yield f'<tr class="faint"><td>ignored, of all pixels</td>{cells}</tr></table>'
