"""The `seg export` command: a checkpoint in, a file for another runtime out, or a reason why not."""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from seg.data.base import SegmentationData
    from seg.export.card import Card
    from seg.export.gate import Verdict
    from seg.task import SegmentationTask

CALIBRATION_IMAGES = 64
"""Training images that int8 ranges are read from."""
DROP = 1.0
"""Points of mIoU that a half or int8 export may lose where nothing is said."""


def main(argv: list[str] | None = None) -> None:
    """Run `seg export`."""
    from seg.errors import quiet, stoppable, told

    parser = argparse.ArgumentParser(
        prog="seg export",
        description="Write the network of a checkpoint as ONNX or as a torch.export package: raw pixel values in, any "
        "batch, height and width. It is compared with the checkpoint first, and not written where it differs.",
    )
    parser.add_argument("checkpoint", type=Path, help="a run's checkpoints/best.ckpt")
    parser.add_argument(
        "--out", type=Path, required=True, help="file to write: model.onnx, or model.pt2 (torch.export)"
    )
    parser.add_argument("--output", choices=("logits", "probabilities", "labels"), default="logits")
    precisions = parser.add_mutually_exclusive_group()
    for name, text in {
        "int8": "8 bits, calibrated on training images (ONNX only)",
        "fp16": "half precision, for GPUs",
        "bf16": "bfloat16 (.pt2 only: ONNX Runtime has few kernels for it)",
    }.items():
        precisions.add_argument(f"--{name}", dest="precision", action="store_const", const=name, help=text)
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="points of validation mIoU that the export may lose; where more, nothing is written and the exit status "
        f"is 1; {DROP:g} for int8, fp16 and bf16",
    )
    parser.add_argument("--ungated", action="store_true", help="write int8, fp16 or bf16 without measuring its mIoU")
    parser.add_argument(
        "--calibrate", type=Path, metavar="FOLDER", help="images for int8 instead of the training split"
    )
    parser.add_argument("--calibration-images", type=int, default=CALIBRATION_IMAGES, metavar="N")
    parser.add_argument("--root", type=Path, help="folder of the run's data set, where it has moved")
    parser.add_argument("--device", default="auto", help="where mIoU and time are measured: cpu, cuda; auto")
    options = parser.parse_args(argv)
    options.precision = options.precision or "fp32"
    quiet()
    with stoppable():
        told(lambda: refused(lambda: export(**vars(options))))


def refused(action: Callable[[], object]) -> None:
    """Run an action; an export that is not good enough ends with its reason and exit status 1."""
    from seg.export.parity import Refused

    try:
        action()
    except Refused as reason:
        sys.stdout.flush()
        print(f"refused: {reason}", file=sys.stderr)
        sys.exit(1)


def export(
    checkpoint: Path,
    out: Path,
    output: str = "logits",
    precision: str = "fp32",
    max_drop: float | None = None,
    ungated: bool = False,
    calibrate: Path | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    root: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Write a checkpoint's network for other runtimes, and a JSON of the same name beside it.

    Args:
        checkpoint: a checkpoint of `seg`.
        out: `.onnx` or `.pt2`; replaced where it exists, once all went well.
        output: logits, probabilities or labels.
        precision: fp32, fp16, bf16 (.pt2 only) or int8 (.onnx only).
        max_drop: points of mIoU that may be lost; 1 where not given and the precision is not fp32.
        ungated: write without measuring the mIoU.
        calibrate: folder of images for int8; the run's training images where not given.
        calibration_images: number of them.
        root: folder of the data set, where it is no longer where the run's config.yaml says.
        device: where mIoU and time are measured.

    Returns:
        What was measured: parity at each size, and the verdict of the gate.

    Raises:
        FileNotFoundError: no such checkpoint, or the data set that is needed is gone.
        ValueError: no checkpoint of seg, an output that cannot be written, settings that contradict each other.
        ImportError: a package of the extra `export` is missing.
        Refused: the export differs from the original, or loses more than allowed.

    """
    check_settings(out, precision, max_drop, ungated, calibrate, calibration_images)
    from seg.export import parity
    from seg.export.card import Card
    from seg.export.runtime import ExportedNetwork
    from seg.files import replacing
    from seg.loading import load_task

    task = load_task(checkpoint, "cpu")
    card = Card.of_task(task, output, precision)
    gated = max_drop is not None or (precision != "fp32" and not ungated)
    data = data_of(checkpoint, card, root, required=gated or (precision == "int8" and calibrate is None))
    with ExitStack() as stack:
        sidecar = stack.enter_context(replacing(out.with_name(f"{out.name}.json")))
        final = stack.enter_context(replacing(out))
        exact = final
        if precision != "fp32":
            exact = stack.enter_context(temporary(final.with_name(f".exact{final.name}")))
        write(task, exact, dataclasses.replace(card, precision="fp32"))
        found = parity.compare(task, ExportedNetwork(exact, "cpu"), samples_of(data, card))
        parity.check(found)
        print("\n".join(["agrees with the checkpoint:", *(f"  {line}" for line in found)]), flush=True)
        if precision == "int8":
            quantised(exact, final, card, data, calibrate, calibration_images, task)
        elif precision != "fp32":
            write(task, final, card)
        measured: dict[str, Any] = {"parity": [line._asdict() for line in found]}
        if gated:
            assert data is not None
            limit = DROP if max_drop is None else max_drop
            measured["validation"] = judged(checkpoint, final, data, card, device, limit).facts()
        sidecar.write_text(card.text(measured=measured), encoding="utf-8")
        size = final.stat().st_size
    print(f"{out}: {precision}, {output}, {size / 2**20:.1f} MiB; {out}.json describes it")
    return measured


def check_settings(
    out: Path, precision: str, max_drop: float | None, ungated: bool, calibrate: Path | None, calibration_images: int
) -> None:
    """Refuse what cannot work before anything is read.

    Raises:
        ValueError: naming the option and the cure.
        ImportError: a package of the extra `export` is missing.

    """
    from seg.export.onnx_file import need

    suffix = out.suffix.lower()
    if suffix not in (".onnx", ".pt2"):
        raise ValueError(f"--out {out}: the name must end in .onnx or, for torch.export, in .pt2")
    if precision == "int8" and suffix != ".onnx":
        raise ValueError(f"--out {out}: --int8 is written as ONNX; give a name that ends in .onnx")
    if precision == "bf16" and suffix != ".pt2":
        raise ValueError(
            f"--out {out}: ONNX Runtime's CPU has no convolution in bfloat16; give --fp16, or a name that ends in .pt2"
        )
    if max_drop is not None and (ungated or not max_drop == max_drop):
        raise ValueError(f"--max-drop {max_drop}: give points of mIoU, such as 0.5, and not --ungated with it")
    if calibrate is not None and precision != "int8":
        raise ValueError(f"--calibrate {calibrate}: only --int8 is calibrated")
    if calibration_images < 1:
        raise ValueError(f"--calibration-images {calibration_images}: int8 needs 1 image or more, better 64")
    if suffix == ".onnx":
        need("onnx", "onnxscript", "onnxruntime")
    if out.is_dir():
        raise ValueError(f"--out {out}: this is a folder; give a file's name")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe = out.with_name(f".{out.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be written there ({error.strerror or error})") from error


def write(task: "SegmentationTask", path: Path, card: "Card") -> None:
    """Write a task's network in the precision and with the output that a card names."""
    from seg.export.onnx_file import write_onnx
    from seg.export.program import exportable, trace, write_program

    program = trace(exportable(task, card), len(card.mean), card.dtype)
    (write_onnx if path.suffix.lower() == ".onnx" else write_program)(program, path, card)


def data_of(checkpoint: Path, card: "Card", root: Path | None, required: bool) -> "SegmentationData | None":
    """Return the run's data module, or None where it is gone and nothing depends on it.

    Raises:
        FileNotFoundError: it is gone, and required.
        ValueError: it has changed, and is required.

    """
    from seg.export.samples import run_data

    try:
        data = run_data(checkpoint, card, root)
        data.setup("validate")
    except (FileNotFoundError, ValueError) as error:
        if required or root is not None:
            raise type(error)(
                f"{error}\nmIoU and calibration need the run's data: where it has moved, give its place with --root, "
                "or do without it by --ungated and --calibrate FOLDER"
            ) from error
        print(f"compared on generated images, for the run's own cannot be read: {str(error).splitlines()[0]}")
        return None
    return data


def samples_of(data: "SegmentationData | None", card: "Card") -> "list[Tensor]":
    """Return batches of three sizes to compare on: of the validation split where it is there, else generated."""
    from seg.export.samples import at_three_sizes, drawn_images

    if data is None:
        return at_three_sizes(drawn_images(card, 4))
    dataset = data.datasets["val"]
    count = min(len(dataset), 4)
    return at_three_sizes(dataset[index * len(dataset) // count]["image"][None] for index in range(count))


def quantised(
    source: Path,
    target: Path,
    card: "Card",
    data: "SegmentationData | None",
    calibrate: Path | None,
    count: int,
    task: "SegmentationTask",
) -> None:
    """Write the int8 version of a file, calibrated on a folder or on the training split."""
    from seg.export.quantise import quantise
    from seg.export.samples import folder_images, training_images
    from seg.infer import Predictor
    from seg.loading import TaskNetwork

    if calibrate is not None:
        images: Iterator[Tensor] = folder_images(calibrate, Predictor(TaskNetwork(task)), count)
    else:
        assert data is not None
        images = training_images(data, count)
    quantise(source, target, images, card)


def judged(
    checkpoint: Path, file: Path, data: "SegmentationData", card: "Card", device: str, limit: float
) -> "Verdict":
    """Return checkpoint and file compared on the validation split, and print it.

    Raises:
        Refused: the file loses more than the limit.

    """
    from seg.export import gate
    from seg.export.runtime import ExportedNetwork
    from seg.loading import load_task
    from seg.metrics import SegmentationMetrics

    # the file first: its runtime may have no kernels for a device that torch has, and both are measured on one
    exported = ExportedNetwork(file, device)
    task = load_task(checkpoint, exported.device)

    def original(images: "Tensor") -> "Tensor":
        return task(images.to(task.device))  # type: ignore[no-any-return]

    counts = (len(card.class_names), card.ignore_index, task.include_background)
    scores, agreement, images = gate.evaluate(
        original, exported, data.val_dataloader(), lambda: SegmentationMetrics(*counts)
    )
    shown = data.datasets["val"][0]["image"][None]
    times = gate.seconds((original, exported), shown)
    weights = sum(value.nbytes for value in task.net.state_dict().values())
    sizes = (weights, file.stat().st_size)
    memories = [gate.memory(path, tuple(shown.shape), str(exported.device)) for path in (checkpoint, file)]
    worths = [gate.Worth(*values) for values in zip(scores, sizes, times, memories, strict=True)]
    verdict = gate.Verdict(worths[0], worths[1], agreement, images, tuple(shown.shape))
    print(f"validation split, {exported.device.type}:\n{verdict.table(card.precision)}", flush=True)
    gate.refuse_drop(verdict, limit)
    return verdict


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """Yield a path, and remove what was written there."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
