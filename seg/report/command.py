"""The `seg report` and `seg compare` commands, and the report that every run ends with."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg.loggers import CSV

STAGES = ("test", "val")


def main(argv: list[str] | None = None) -> None:
    """Run `seg report`."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        prog="seg report",
        description="Make the page of a run anew: scores, curves, confusion matrix, images, settings in one HTML file "
        "that needs no network.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, runs/<config>/version_<n>")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; report.html in the run folder if not given")
    parser.add_argument(
        "--split",
        choices=STAGES,
        help="what seg test or seg validate recorded; the test, if there was one, if not given",
    )
    options = parser.parse_args(argv)
    quiet()
    told(lambda: report(options.run, options.out, options.split))


def report(folder: Path, out: Path | None = None, split: str | None = None) -> Path:
    """Write the page of a run folder, and say where it lies and what it lacks.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it is no run folder, or the page cannot be written.

    """
    from seg.report.page import write
    from seg.report.run import Run

    refuse_folder(out)
    written = write(Run(folder), out, split)
    for text in written.missing:
        print(f"report lacks: {text}")
    print(f"{'report:':<12}{written.path}", flush=True)
    return written.path


def finish(folder: Path, split: str | None = None) -> None:
    """Write the page at the end of a run; whatever goes wrong is said, and the run goes on."""
    try:
        report(folder, split=split)
    except Exception as error:
        print(
            f"no report ({type(error).__name__}: {error}); the run itself is whole, try: seg report {folder}",
            flush=True,
        )


def leave(csv: "CSV") -> None:
    """Draw the curves and write the page of a run that Ctrl-C has stopped; pressed again, it ends that at once."""
    import signal
    from contextlib import suppress

    from seg.callbacks import draw_curves

    # Lightning ignores the signal from the first one on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        try:
            draw_curves(csv, csv.folder / "curves.png")
        except Exception as error:
            print(f"no curves ({type(error).__name__}: {error})", flush=True)
        finish(csv.folder)


def compare_main(argv: list[str] | None = None) -> None:
    """Run `seg compare`."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        prog="seg compare",
        description="Put runs side by side in one HTML file: scores, classes, curves, settings that differ, and the "
        "images on which they differ most. The first run is what the others are compared with.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, runs/<config>/version_<n>")
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("compare.html"), help="the page; compare.html")
    parser.add_argument("--split", choices=STAGES, help="what is compared; what all of them have, if not given")
    options = parser.parse_args(argv)
    quiet()
    told(lambda: compare(options.runs, options.out, options.split))


def compare(folders: list[Path], out: Path, split: str | None = None) -> None:
    """Write the page that compares runs.

    Raises:
        FileNotFoundError: a folder that does not exist.
        ValueError: fewer than two runs, folders of no run, or the page cannot be written.

    """
    from seg.report.compare import write
    from seg.report.run import Run

    refuse_folder(out)
    write([Run(folder) for folder in folders], out, split)
    print(f"{'comparison:':<12}{out}", flush=True)


def refuse_folder(out: Path | None) -> None:
    """Refuse to write a page where a folder is."""
    if out is not None and out.is_dir():
        raise ValueError(f"--out {out}: this is a folder; give a file, such as {out / 'report.html'}")
