"""`seg doctor run`: examines a set-up, as a config describes it, before hours are spent on it."""

import argparse
import json
import sys
from pathlib import Path

from seg.files import replacing

_DESCRIPTION = """\
Tell whether a set-up is able to learn: brings the run of a config to its first step, and there tries out, in a minute
or two, what would otherwise come out after hours. Nothing of a run is changed, no run folder is made.

  seg doctor run --config camvid_unet_cpu             any of the run's settings may follow, such as --data.root
  seg doctor run --config shapes_unet --only overfit,rate

The exit status is 0 where one may train (warnings included), 1 where something failed, and 2 for a mistake in the
command. What there was no time for is called skip, never pass."""


def main(argv: list[str]) -> None:
    """Run `seg doctor run`; exit with 1 where a check failed."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        "seg doctor run",
        usage="seg doctor run --config NAME [--data.root DIR …] [options]",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--only", action="append", metavar="CHECK,…", help="run these checks alone")
    parser.add_argument("--skip", action="append", metavar="CHECK,…", help="leave these checks out")
    parser.add_argument("--seconds", type=float, default=120.0, help="that it may take, about; 120 where not given")
    parser.add_argument("--out", type=Path, metavar="DIR", help="page and pictures; runs/doctor/<name> where not given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings and figures to this file")
    options, settings = parser.parse_known_args(argv)
    if not settings:
        parser.error("give a config: --config camvid_unet_cpu")
    if not 0 < options.seconds < float("inf"):
        parser.error(f"--seconds {options.seconds:g}: give a number of seconds above 0, such as 120")
    quiet()
    told(lambda: run(settings, options.only, options.skip, options.seconds, options.out, options.json))


def run(
    settings: list[str],
    only: list[str] | None,
    skip: list[str] | None,
    seconds: float,
    out: Path | None,
    to_json: Path | None,
) -> None:
    """Examine and report; exit with 1 where a check failed.

    Raises:
        FileNotFoundError: no such config.
        ValueError: a setting that cannot be, or no such check.

    """
    from seg import draw
    from seg.doctor.configured import configured_run
    from seg.doctor.run import examine_run
    from seg.doctor.run_page import closing, run_page
    from seg.doctor.summary import lines_of

    names = chosen(only, skip)
    trainer, task, data, name, missing = configured_run(settings)
    print(f"{name}: {type(task.net).__name__} on {type(data).__name__} in {data.root}\n", flush=True)
    report = examine_run(
        trainer, task, data, name, seconds, names, missing, lambda found: print("\n".join(lines_of(found)), flush=True)
    )
    print(f"\n{closing(report)}")
    out = out or Path("runs") / "doctor" / name
    for picture, array in report.pictures.items():
        draw.save(out / f"{picture}.png", array)
    with replacing(out / "run.html") as temporary:
        temporary.write_text(run_page(report), encoding="utf-8")
    print(f"page: {out / 'run.html'}")
    if to_json is not None:
        with replacing(to_json) as temporary:
            temporary.write_text(json.dumps(report.plain(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"json: {to_json}")
    sys.exit(1 if report.verdict == "fail" else 0)


def chosen(only: list[str] | None, skip: list[str] | None) -> list[str]:
    """Return the names of the checks to run.

    Raises:
        ValueError: no check of that name, or none left; the checks are listed.

    """
    from difflib import get_close_matches

    from seg.doctor.run import CHECKS

    wanted, unwanted = ([name for words in given or [] for name in words.split(",") if name] for given in (only, skip))
    for option, names in (("--only", wanted), ("--skip", unwanted)):
        for name in names:
            if name not in CHECKS:
                close = get_close_matches(name, CHECKS, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise ValueError(f"{option}: there is no check '{name}'{hint}; the checks are {', '.join(CHECKS)}")
    left = [name for name in wanted or CHECKS if name not in unwanted]
    if not left:
        raise ValueError(f"--only and --skip leave no check; the checks are {', '.join(CHECKS)}")
    return left
