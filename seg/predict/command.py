"""The options of `seg predict`."""

import argparse
import io
import sys
from pathlib import Path

from seg.predict.kinds import KINDS
from seg.predict.tables import TABLES


def main(argv: list[str] | None = None) -> None:
    """Run `seg predict`."""
    from seg.errors import quiet, stoppable, told
    from seg.predict.run import predict_files

    options = parser().parse_args(argv)
    quiet()
    # names of files are bytes, and need not be UTF-8
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    with stoppable():
        told(lambda: sys.exit(1) if predict_files(**vars(options)) else None)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    kinds = [f"{name}: {kind.text}" for name, kind in KINDS.items()]
    kinds += [f"{name}: {table.text}" for name, table in TABLES.items()]
    parser = argparse.ArgumentParser(
        prog="seg predict",
        description="Predict the class of every pixel of images, at each image's own size. What is done is left alone: "
        "files that were made with the same settings by the same checkpoint, of the same image as it is now. "
        "Images of more than 2^28 pixels (16384 x 16384) are refused unless the environment variable SEG_MAX_PIXELS "
        "allows them: SEG_MAX_PIXELS=1000000000 seg predict ...",
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a run's checkpoints/best.ckpt, or an exported network (.onnx, .pt2)"
    )
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        help="image files; folders, searched with their subfolders, hidden ones aside; patterns in quotes, such "
        "as 'photos/**/*.jpg'; - for a list of files on standard input, one a line. Earlier predictions are left out",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the masks; others go to subfolders of it. Files there that seg predict did not write stay",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps; auto takes a GPU where there is one")
    parser.add_argument(
        "--precision", choices=("32", "bf16-mixed", "16-mixed"), help="that of the training run where not given"
    )
    parser.add_argument(
        "--save",
        nargs="+",
        choices=[*KINDS, *TABLES],
        default=["masks", "overlays"],
        metavar="KIND",
        help="what is written, masks and overlays where not given. " + "; ".join(kinds),
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make again what is done, what a hand corrected or is of another image",
    )

    large = parser.add_argument_group("large images")
    how = large.add_mutually_exclusive_group()
    how.add_argument("--whole", action="store_true", help="never cut an image into tiles")
    how.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="cut images into tiles of this side; where neither is given, those that memory is too small for, by 512",
    )
    large.add_argument("--overlap", type=float, default=0.25, help="share of a tile that the next one sees too (0.25)")
    large.add_argument(
        "--margin",
        type=int,
        metavar="PIXELS",
        help="pixels along a tile's inner edges that are thrown away, for the network saw zeros beyond them where the "
        "image goes on: 0 to half of the overlap (3/8 of it). Half of the network's receptive field (seg models tells "
        "it) makes tiles give what the whole image gives",
    )
    large.add_argument("--batch-size", type=int, help="tiles at once (1 on a CPU, 8 on a GPU)")

    views = parser.add_argument_group(
        "averages of several views (test-time augmentation)",
        "Each tile is mirrored and resized on its own: what comes out differs a little from that of the whole image.",
    )
    views.add_argument(
        "--tta", choices=("none", "horizontal", "flips"), default="none", help="mirror images: two, or four both ways"
    )
    views.add_argument("--scales", type=float, nargs="+", default=[1.0], help="sizes, such as 0.75 1 1.25")

    after = parser.add_argument_group("afterwards")
    after.add_argument(
        "--smallest-region",
        type=int,
        default=0,
        metavar="PIXELS",
        help="regions of fewer pixels take the likeliest label beside them (0: off)",
    )
    after.add_argument(
        "--fill-holes",
        type=int,
        default=0,
        metavar="PIXELS",
        help="what one region encloses becomes part of it, up to so many pixels with all that is in it (0: off)",
    )

    labelme = parser.add_argument_group(
        "labelme",
        "Files that a person has made or corrected stay. Where --out is the images' own folder, files lie beside the "
        "images: correct them there (labelme FOLDER), and train on the same folder.",
    )
    labelme.add_argument("--tolerance", type=float, default=1.0, help="pixels that outlines may move (1; 0: none)")
    labelme.add_argument(
        "--uncertain-below",
        type=float,
        default=0.7,
        metavar="CONFIDENCE",
        help="shapes and images of less mean confidence bear the flag uncertain (0.7)",
    )
    labelme.add_argument(
        "--embed",
        action="store_true",
        help="put all images into the files; those that labelme cannot show (many bands, 16 bits, floats) always are",
    )
    return parser
