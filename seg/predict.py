"""Predicting files: images in, masks and pictures of them out, with nothing but a checkpoint."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from seg.data.pixels import Pixels
    from seg.task import SegmentationTask

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".npy")
"""What counts as an image when a folder is given; a file that is named is tried whatever its suffix."""


def main(argv: list[str] | None = None) -> None:
    """Run `seg predict`."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        prog="seg predict",
        description="Predict the class of every pixel of images, at each image's own size.",
    )
    parser.add_argument("checkpoint", type=Path, help="a run's checkpoints/best.ckpt")
    parser.add_argument("inputs", type=Path, nargs="+", help="image files and folders (searched with their subfolders)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the masks; others go to subfolders of it")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps; auto takes a GPU where there is one")
    parser.add_argument(
        "--precision", choices=("32", "bf16-mixed", "16-mixed"), help="that of the training run where not given"
    )
    parser.add_argument(
        "--save",
        nargs="+",
        choices=list(KINDS),
        default=["masks", "overlays"],
        help="masks: indexed PNGs in the data set's palette; overlays: the same over the image; cityscapes: grey PNGs "
        "of labelIds, named as its evaluation server expects; masks and overlays where not given",
    )
    options = parser.parse_args(argv)
    quiet()
    told(lambda: sys.exit(1) if predict_files(**vars(options)) else None)


def predict_files(
    checkpoint: Path,
    inputs: list[Path],
    out: Path,
    device: str = "auto",
    precision: str | None = None,
    save: Sequence[str] = ("masks", "overlays"),
) -> list[str]:
    """Write what is wanted of every image's prediction; return a line for each file that could not be predicted.

    Args:
        checkpoint: a checkpoint of `seg`.
        inputs: image files and folders.
        out: folder to write to, see `target_of`.
        device: where to compute, `auto` for a GPU where there is one.
        precision: number format; that of the training run where not given.
        save: what is written, of `KINDS`.

    Raises:
        FileNotFoundError: the checkpoint or an input does not exist, or there is no image in the inputs.
        ValueError: two images would be written to the same file, the checkpoint is not one of `seg`, or what is to be
            saved does not go with its classes.

    """
    names = outputs_of(inputs, out, save)
    from tqdm import tqdm

    from seg.data.images import read_image

    task = load(checkpoint, device)
    if "cityscapes" in save:
        refuse_other_classes(checkpoint, task.class_names)
    pixels = pixels_of(task)
    failed = []
    for name, path in tqdm(names.items(), desc="predict", disable=not sys.stderr.isatty()):
        try:
            image = read_image(path, pixels.channels)
            pixels.check(image, str(path))
            pixels.fill(image)
            mask = predict_labels(task, image, precision)
        except (ValueError, OSError) as error:
            failed.append(f"{path}: {error}" if str(path) not in str(error) else str(error))
            continue
        seen = visible(image, task)
        for kind in save:
            KINDS[kind](target_of(kind, name, out), seen, mask, task.class_colors)
    places = ", ".join(f"{kind} in {folder_of(kind, out)}" for kind in KINDS if kind in save)
    print(f"{len(names) - len(failed)} of {len(names)} images predicted: {places}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return failed


def images_in(inputs: list[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (name without suffix, file) of the images that files and folders stand for, those below `out` left out."""
    for given in inputs:
        if given.is_dir():
            inside = out.resolve().is_relative_to(given.resolve()) and out.resolve() != given.resolve()
            for path in sorted(given.rglob("*")):
                written = inside and path.resolve().is_relative_to(out.resolve())
                if path.suffix.lower() in SUFFIXES and path.is_file() and not written:
                    yield path.relative_to(given).with_suffix(""), path
        elif given.exists():
            yield Path(given.stem), given
        else:
            raise FileNotFoundError(f"{given}: there is no such image or folder")


def folder_of(kind: str, out: Path) -> Path:
    """Return where a kind of output lies: masks in `out` itself, all others in a folder of their name below it."""
    return out if kind == "masks" else out / kind


def target_of(kind: str, name: Path, out: Path) -> Path:
    """Return the file that a kind of output is written to.

    Subfolders are kept; but for Cityscapes' evaluation, which finds files by <city>_<sequence>_<frame>*.png wherever
    they lie, and takes those with "gt" in their names for the truth.

    Raises:
        ValueError: the image is not named as Cityscapes' frames are.

    """
    if kind == "cityscapes":
        from seg.convert.cityscapes import frame_of

        return folder_of(kind, out) / f"{frame_of(name)}_pred_labelIds.png"
    return folder_of(kind, out) / f"{name}.png"


def outputs_of(inputs: list[Path], out: Path, save: Sequence[str] = ("masks", "overlays")) -> dict[Path, Path]:
    """Return output name -> image file; whatever would overwrite something is refused before anything is written."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: this is a file; give a folder")
    names: dict[Path, Path] = {}
    images: dict[Path, Path] = {}  # target -> the image that it is made of
    for name, path in images_in(inputs, out):
        names[name] = path
        for target in (target_of(kind, name, out) for kind in save):
            if (other := images.setdefault(target, path)) != path:
                raise ValueError(
                    f"{other} and {path} would both be written as {target}; "
                    "name the files that you mean, or predict them into two --out folders"
                )
    if not names:
        raise FileNotFoundError(
            f"no image in {', '.join(map(str, inputs))}; looked for files ending in {', '.join(SUFFIXES)}"
        )
    pictures = {path.resolve() for path in names.values()}
    for target in images:
        if target.resolve() in pictures:
            raise ValueError(f"--out {out}: {target} would replace an input image; give another folder")
    return names


def refuse_other_classes(checkpoint: Path, class_names: list[str]) -> None:
    """Refuse to save ids of Cityscapes' classes for a network that was trained on others.

    Raises:
        ValueError: naming the checkpoint and the first class that differs.

    """
    from seg.convert.cityscapes_labels import TRAIN_LABELS

    known = [label.name for label in TRAIN_LABELS]
    if class_names != known:
        raise ValueError(
            f"--save cityscapes: {checkpoint} was trained on {len(class_names)} classes ({', '.join(class_names[:4])}, "
            f"…); this needs the {len(known)} of data.classes: train of seg.data.Cityscapes ({', '.join(known[:4])}, …)"
        )


def _write_mask(target: Path, image: "np.ndarray", mask: "np.ndarray", colors: list[list[int]]) -> None:
    from seg.convert.palette import write_indexed

    write_indexed(target, mask, colors)


def _write_overlay(target: Path, image: "np.ndarray", mask: "np.ndarray", colors: list[list[int]]) -> None:
    from seg import draw

    draw.save(target, draw.overlay(image, mask, colors))


def _write_ids(target: Path, image: "np.ndarray", mask: "np.ndarray", colors: list[list[int]]) -> None:
    from seg.convert.cityscapes import ids_of
    from seg.convert.png import write_grey

    write_grey(target, ids_of(mask))


KINDS: dict[str, Callable[[Path, "np.ndarray", "np.ndarray", list[list[int]]], None]] = {
    "masks": _write_mask,
    "overlays": _write_overlay,
    "cityscapes": _write_ids,
}
"""What can be saved of a prediction -> what writes it: target, image uint8 (H, W, 3), labels uint8 (H, W), colours."""


def load(checkpoint: Path, device: str = "auto") -> "SegmentationTask":
    """Return the task of a checkpoint, ready to predict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a checkpoint of `seg`.

    """
    import pickle

    import torch

    from seg.task import SegmentationTask

    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: there is no such checkpoint")
    try:
        torch.empty(0, device="cpu" if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: not to be had here ({str(error).splitlines()[0]}); try cpu") from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        task: SegmentationTask = SegmentationTask.load_from_checkpoint(
            checkpoint, map_location="cpu", weights_only=True
        )
    except (pickle.UnpicklingError, KeyError, EOFError, RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"{checkpoint} is not a checkpoint of seg, or is damaged: {error}") from error
    return task.eval().to(device)


def pixels_of(task: "SegmentationTask") -> "Pixels":
    """Return what images the task was trained on, to read others in the same way."""
    from seg.data.pixels import Pixels

    channels, dtype = task.image_kind
    mean, std = task.pixels.mean.flatten().tolist(), task.pixels.std.flatten().tolist()
    return Pixels(channels, len(mean), dtype, mean, std)  # type: ignore[arg-type]


def visible(image: "np.ndarray", task: "SegmentationTask") -> "np.ndarray":
    """Return an image (H, W, N) so that it can be looked at: all but 8-bit ones clipped and normalised."""
    import torch

    if image.dtype == "uint8":
        return image
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(task.device)
    return task.normalize(pixels)[0].permute(1, 2, 0).cpu().numpy()  # type: ignore[no-any-return]


def predict_labels(task: "SegmentationTask", image: "np.ndarray", precision: str | None = None) -> "np.ndarray":
    """Return the labels uint8 (H, W) of an image (H, W, N) of raw pixel values at its own size.

    The image is brought to the size that the data module showed the network, if it did so; the logits are brought
    back before the labels are read off.
    """
    import numpy as np
    import torch

    from seg.data.images import resize_image

    height, width = image.shape[:2]
    shown = resize_image(image, (task.resize[0], task.resize[1])) if task.resize else image
    # networks need 32 pixels a side; what is added is cropped off the logits again
    seen = shown.shape[:2]
    below, right = max(0, 32 - seen[0]), max(0, 32 - seen[1])
    shown = np.pad(shown, ((0, below), (0, right), (0, 0)), mode="edge")
    pixels = torch.from_numpy(np.ascontiguousarray(shown)).permute(2, 0, 1)[None].to(task.device)
    with torch.inference_mode(), autocast(task, precision or task.trained_precision):
        logits = task.to_size(task(pixels)[..., : seen[0], : seen[1]], torch.empty(1, height, width))
    return logits.max(1).indices[0].to(torch.uint8).cpu().numpy()  # type: ignore[no-any-return]


def autocast(task: "SegmentationTask", precision: str) -> "AbstractContextManager[torch.autocast | None]":
    """Return the context that computes in a precision as the Trainer names it; fp16 is for GPUs, a CPU takes fp32."""
    import torch

    kind = task.device.type
    if precision.startswith("bf16"):
        return torch.autocast(kind, dtype=torch.bfloat16)
    if precision.startswith("16") and kind != "cpu":
        return torch.autocast(kind, dtype=torch.float16)
    return nullcontext()
