"""`seg doctor data`: examines a data set, named by a config or a folder, and writes what it found."""

import argparse
import json
import sys
from pathlib import Path

from seg.files import replacing

_DESCRIPTION = """\
Tell whether a data set is fit to train on: reads every file once and reports, with pictures, what is damaged, labelled
wrongly, missing, there twice, or too small for the network.

  seg doctor data --config labelme_unet --data.root photos   as that config would train; any of its settings may follow
  seg doctor data photos                                     a folder alone: its kind is guessed, and said

The exit status is 0 where one may train (warnings included), 1 where something failed, and 2 for a mistake in the
command."""


def main(argv: list[str]) -> None:
    """Run `seg doctor data`; exit with 1 where a check failed."""
    from seg.errors import quiet, told

    folder, words = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else (None, argv)
    parser = argparse.ArgumentParser(
        "seg doctor data",
        usage="seg doctor data [FOLDER | --config NAME [--data.root DIR …]] [options]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings, with every place, to this file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the page; runs/doctor/<name>.html where not given")
    parser.add_argument("--workers", type=int, help="processes that read; one a core where not given")
    options, settings = parser.parse_known_args(words)
    if folder is None and not settings:
        parser.error("give a folder, or a config: --config labelme_unet --data.root photos")
    if folder is not None and settings:
        parser.error(f"a folder takes no settings ({' '.join(settings)}); describe the data set with --config")
    quiet()
    told(lambda: run(folder, settings, options.json, options.html, options.workers))


def run(
    folder: str | None, settings: list[str], to_json: Path | None, to_html: Path | None, workers: int | None
) -> None:
    """Examine and report; exit with 1 where a check failed.

    Raises:
        FileNotFoundError: no such folder or config.
        ValueError: a setting that cannot be, or a folder of no known kind.

    """
    from seg.doctor.data import examine
    from seg.doctor.findings import Finding
    from seg.doctor.listing import heard
    from seg.doctor.page import page
    from seg.doctor.summary import text

    before: list[Finding] = []
    if folder is not None:
        from seg.doctor.guess import guess
        from seg.doctor.network import scale_of

        root = Path(folder).expanduser()
        with heard(before):
            data, kind = guess(root)
        print(f"{root}: taken for {kind}", flush=True)
        scale, name = scale_of(None, None), root.resolve().name
    else:
        from seg.doctor.configured import configured

        with heard(before):
            data, scale, name = configured(settings)
    report = examine(data, scale, name, folder is not None, workers, before)
    print(text(report))
    to_html = to_html or Path("runs") / "doctor" / f"{name}.html"
    with replacing(to_html) as temporary:
        temporary.write_text(page(report), encoding="utf-8")
    print(f"page: {to_html}")
    if to_json is not None:
        with replacing(to_json) as temporary:
            temporary.write_text(json.dumps(report.plain(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"json: {to_json}")
    sys.exit(1 if report.verdict == "fail" else 0)
