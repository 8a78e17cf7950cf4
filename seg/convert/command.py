"""The `seg convert` command: one line a format here, options and work in the module named."""

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from seg.convert.batch import Summary

FORMATS = {
    "labelme": ("seg.convert.labelme", "labelme JSON files to images and indexed masks in Pascal VOC's layout"),
    "cityscapes": ("seg.convert.cityscapes", "Cityscapes polygons to labelIds or labelTrainIds, pixel for pixel"),
    "coco": ("seg.convert.coco", "COCO's polygons and RLE to a Pascal VOC tree"),
    "colors": ("seg.convert.colors", "colour masks to indexed masks, by an exact palette"),
    "masks": ("seg.convert.masks", "indexed masks to labelme's polygons, holes kept"),
    "sbd": ("seg.convert.sbd", "SBD's .mat files to masks beside Pascal VOC's, and the list of trainaug"),
}
"""Name -> module and help; the module has add_arguments(parser) and convert(**options) -> (Summary, what)."""


def main(argv: list[str] | None = None) -> None:
    """Run `seg convert`; the exit status is 1 where a file could not be converted."""
    from seg.errors import told

    parser = argparse.ArgumentParser(prog="seg convert", description="Convert annotations from one format to another.")
    commands = parser.add_subparsers(dest="format", required=True, metavar="format")
    words = sys.argv[2:] if argv is None else argv
    for name, (module, text) in FORMATS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if not words or words[0] != name:
            continue  # only the module that is wanted is imported
        import_module(module).add_arguments(command)
        command.add_argument("--out", type=Path, required=True, metavar="DST", help="folder to write to")
        command.add_argument("--workers", type=int, help="processes; one a core where not given")
        command.add_argument("--overwrite", action="store_true", help="convert what is done already, too")
    options = vars(parser.parse_args(words))
    convert: Callable[..., tuple[Summary, str]] = import_module(FORMATS[options.pop("format")][0]).convert
    told(lambda: finish(*convert(**options)))


def finish(summary: Summary, what: str) -> None:
    """Print what was done; exit with 1 where a file failed."""
    print(summary.text(what))
    if summary.failed:
        sys.exit(1)
