"""The `seg models` command: the table that people want before they choose a network."""

import argparse
import importlib
import inspect
import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg.files import replacing

if TYPE_CHECKING:
    import torch
    from torch import nn

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "FCN-8s vgg16": ("seg.models.FCN", {}),
    "SegNet": ("seg.models.SegNet", {}),
    "SegNetBasic": ("seg.models.SegNetBasic", {}),
    "DeconvNet": ("seg.models.DeconvNet", {}),
    "UNet": ("seg.models.UNet", {}),
    "UNet, width 32": ("seg.models.UNet", {"width": 32}),
    "DeepLabLargeFOV": ("seg.models.DeepLabLargeFOV", {}),
    "DeepLabV3 resnet50": ("seg.models.DeepLabV3", {}),
    "DeepLabV3Plus resnet50": ("seg.models.DeepLabV3Plus", {}),
    "DeepLabV3Plus, separable": ("seg.models.DeepLabV3Plus", {"separable": True}),
    "SMP Unet resnet34": ("seg.models.SMP", {"arch": "Unet", "encoder": "resnet34"}),
    "SMP FPN resnet34": ("seg.models.SMP", {"arch": "FPN", "encoder": "resnet34"}),
    "SMP Segformer mit_b0": ("seg.models.SMP", {"arch": "Segformer", "encoder": "mit_b0"}),
}
"""Label -> class path and arguments of the networks that are shown where none is named."""

COLUMNS = {
    "parameters": ("M params", 1e6, "{:.2f}"),
    "gmacs": ("GMACs", 1, "{:.1f}"),
    "stride": ("stride", 1, "{:d}"),
    "theoretical_field": ("field", 1, "{}"),
    "effective_field": ("effective", 1, "{}"),
    "training_bytes": ("MiB", 2**20, "{:.0f}"),
    "step_seconds": ("ms a step", 1e-3, "{:.0f}"),
}
"""Key in the JSON -> heading, unit and format in the table."""

LEGEND = """\
field: height × width in pixels that the centre logit can depend on; effective: that hold 95.45 % of its gradient's
power, for an untrained network (Luo et al. 2016). MiB: weights, gradients, AdamW's state and activations of a step."""


def main(argv: list[str] | None = None) -> None:
    """Run `seg models`."""
    from seg.errors import quiet, told

    parser = argparse.ArgumentParser(
        prog="seg models",
        description="Compare networks: parameters, multiplications, stride, receptive fields, and the memory and time "
        "of a training step on this machine.",
        epilog=f"There are {'; '.join(NETWORKS)}.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="a network of the list below, a config (camvid_unet) or a class (seg.models.UNet); all of the list where "
        "none is named",
    )
    size = ("HEIGHT", "WIDTH")
    parser.add_argument("--size", type=int, nargs=2, default=[360, 480], metavar=size, help="of the images in pixels")
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--batch", type=int, default=1, help="images a training step")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps; auto takes a GPU where there is one")
    parser.add_argument(
        "--precision", choices=("auto", "32", "bf16-mixed", "16-mixed"), default="auto", help="as in training"
    )
    parser.add_argument("--no-timing", action="store_true", help="leave out memory and time of a training step")
    parser.add_argument("--json", dest="file", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(argv)
    quiet()
    told(lambda: compare(**vars(options)))


def compare(
    names: list[str],
    size: list[int],
    classes: int,
    batch: int,
    device: str,
    precision: str,
    no_timing: bool,
    file: Path | None,
) -> None:
    """Print a line for each network, once it is measured, and write the figures as JSON.

    Raises:
        ValueError: a size, a batch, a device or a name that cannot be.
        FileNotFoundError: a config that does not exist.

    """
    from seg.models.blocks import SMALLEST_SIZE

    if min(size) < SMALLEST_SIZE:
        raise ValueError(f"--size {size[0]} {size[1]}: height and width must be {SMALLEST_SIZE} pixels or more")
    if batch < 1:
        raise ValueError(f"--batch {batch}: a training step needs 1 image or more")
    specifications = {name: specification(name) for name in names or NETWORKS}
    for class_path, _ in specifications.values():
        network_class(class_path)  # a mistake in the last name is told before the first is measured
    where, dtype, text = settings(device, precision)
    print(f"images {size[0]}×{size[1]} (height × width), {classes} classes, batch {batch}, {text}")
    label = max(map(len, specifications))
    keys = [key for key in COLUMNS if not (no_timing and key in ("training_bytes", "step_seconds"))]
    print("  ".join([f"{'network':<{label}}", *(f"{COLUMNS[key][0]:>11}" for key in keys)]), flush=True)
    rows = []
    for row in figures(specifications, (size[0], size[1]), classes, batch, where, dtype, not no_timing):
        rows.append(row)
        print("  ".join([f"{row['network']:<{label}}", *(f"{shown(key, row[key]):>11}" for key in keys)]), flush=True)
    print(LEGEND)
    if file is not None:
        content = {"size": size, "classes": classes, "batch": batch, "precision": text, "networks": rows}
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def shown(key: str, value: Any) -> str:
    """Return a figure as the table shows it."""
    if value is None:
        return "whole image" if key == "theoretical_field" else "—"
    if isinstance(value, list):
        return f"{value[0]}" if value[0] == value[1] else f"{value[0]}×{value[1]}"
    _, unit, form = COLUMNS[key]
    return form.format(value / unit if unit != 1 else value)


def settings(device: str, precision: str) -> tuple["torch.device", "torch.dtype", str]:
    """Return the device, the number format, and both in words.

    Raises:
        ValueError: no such device here.

    """
    import torch

    from seg.trainer import keep_freed_memory, resolve_precision

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.empty(1, device=where)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: there is no such device here; --device cpu always works") from error
    if precision == "auto":
        precision = resolve_precision("gpu" if where.type == "cuda" else where.type)
    if where.type == "cpu":
        keep_freed_memory()  # as the Trainer does
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision, torch.float32)
    hardware = torch.cuda.get_device_name(where) if where.type == "cuda" else f"{torch.get_num_threads()} threads"
    return where, dtype, f"{precision}, channels_last, {where} ({hardware})"


def figures(
    specifications: dict[str, tuple[str, dict[str, Any]]],
    size: tuple[int, int],
    classes: int,
    batch: int,
    device: "torch.device",
    dtype: "torch.dtype",
    timing: bool,
) -> Iterator[dict[str, Any]]:
    """Build one network after another and yield its figures, ready for JSON; only one is in memory at a time.

    Args:
        specifications: label -> class path and arguments.
        size: height and width of the images in pixels.
        classes: number of classes.
        batch: images a training step.
        device: where to compute.
        dtype: number format, other than float32 by autocast.
        timing: measure memory and time of training steps.

    """
    import torch

    from seg.models.profile import gmacs, parameters
    from seg.models.receptive_field import receptive_field

    for label, (class_path, arguments) in specifications.items():
        torch.manual_seed(0)
        net = build(class_path, arguments, classes).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        field = receptive_field(net, size, samples=1, dtype=dtype)  # a second sample would change it by a few percent
        row: dict[str, Any] = {
            "network": label,
            "class_path": class_path,
            "arguments": arguments,
            "parameters": parameters(net),
            "gmacs": round(gmacs(net, size), 3),
            "stride": getattr(net, "stride", None),
            "theoretical_field": list(field.theoretical) if field.theoretical else None,
            "effective_field": list(field.effective),
        }
        if timing:
            row |= step_cost(net, size, batch, classes, dtype)
        del net
        yield row


def step_cost(
    net: "nn.Module", size: tuple[int, int], batch: int, classes: int, dtype: "torch.dtype"
) -> dict[str, float | None]:
    """Return memory and time of a training step, None where a GPU has too little memory."""
    import torch

    from seg.models.profile import TrainingStep

    try:
        step = TrainingStep(net, size, batch, classes, dtype)
        step.run()
        return {"training_bytes": step.peak_bytes(), "step_seconds": round(step.seconds(), 4)}
    except torch.OutOfMemoryError:
        return {"training_bytes": None, "step_seconds": None}


def specification(name: str) -> tuple[str, dict[str, Any]]:
    """Return class path and arguments of the network that a name means: of the list, of a config, or a class.

    Raises:
        ValueError: a config without a network.
        FileNotFoundError: none of the three.

    """
    labels = {label.lower(): label for label in NETWORKS}
    if name.lower() in labels:
        return NETWORKS[labels[name.lower()]]
    if "." in name and not name.endswith((".yaml", ".yml")):
        return name, {}
    import yaml

    from seg.arguments import find_config

    try:
        path = find_config(name)
    except FileNotFoundError as error:
        close = get_close_matches(name.lower(), labels, n=1)
        hint = f"; did you mean '{labels[close[0]]}'?" if close else ""
        raise FileNotFoundError(
            f"'{name}' is no network of the list, no config and no class such as seg.models.UNet{hint}\n"
            f"the list: {'; '.join(NETWORKS)}"
        ) from error
    try:
        net = yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["net"]
        return net["class_path"], dict(net.get("init_args") or {})
    except (TypeError, KeyError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: there is no network in it (model.net.class_path)") from error


def build(class_path: str, arguments: dict[str, Any], classes: int) -> "nn.Module":
    """Build a network as the command line of training does, of random weights.

    Raises:
        ValueError: arguments that the class does not take.

    """
    from jsonargparse import ArgumentError, ArgumentParser

    from seg.models.weights import without_weights

    kind = network_class(class_path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "net")
    try:
        config = parser.parse_object({"net": {**arguments, "num_classes": classes}})
    except ArgumentError as error:
        raise ValueError(f"{class_path} cannot be built: {error}") from error
    with without_weights():  # they change none of the figures
        net: nn.Module = parser.instantiate(config).net
    return net


def network_class(class_path: str) -> "type[nn.Module]":
    """Return the class of a network.

    Raises:
        ValueError: no such class, or one that is no network of the form that seg trains.

    """
    from torch import nn

    module, _, name = class_path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{class_path}: there is no such class ({error})") from error
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise ValueError(f"{class_path} is not a network of torch, but {kind!r}")
    if "num_classes" not in inspect.signature(kind).parameters:
        raise ValueError(f"{class_path} is not a network of the form Net(num_classes, in_channels=3, …)")
    return kind
