"""Where a run comes from: its settings in one flat list, its code, its environment, its data set."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from seg import __version__

PACKAGES = (
    *("torch", "torchvision", "pytorch-lightning", "torchmetrics", "segmentation-models-pytorch", "timm"),
    *("albumentations", "numpy", "opencv-python-headless", "pillow"),
)
CHECKOUT = Path(__file__).resolve().parent.parent


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration as one level of dotted names, each object by its class and settings.

    `net: {class_path: seg.models.UNet, init_args: {width: 64}}` becomes `net: seg.models.UNet` and `net.width: 64`;
    objects in a list go by their position. Lists of plain values stay lists.

    Args:
        config: what a config.yaml holds.
        prefix: put in front of each name, with its dot.

    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and "class_path" in value:
            flat[prefix + name] = value["class_path"]
            flat |= flatten(value.get("init_args") or {}, f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            flat |= flatten({str(key): item for key, item in value.items()}, f"{prefix}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
            flat |= flatten({str(index): item for index, item in enumerate(value)}, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def facts(trainer: Any) -> dict[str, Any]:
    """Return the code, the environment and the data set of a run, as flat names and plain values.

    Args:
        trainer: Lightning's Trainer; of the data set only what a data module of seg has is told.

    """
    return {
        **{f"code.{name}": value for name, value in code().items()},
        **{f"environment.{name}": value for name, value in environment().items()},
        "environment.precision": str(trainer.precision),
        "environment.processes": trainer.world_size,
        "environment.machines": trainer.num_nodes,
        **{f"dataset.{name}": value for name, value in dataset(trainer.datamodule).items()},
    }


def code() -> dict[str, Any]:
    """Return the version of seg, its commit where it runs from a checkout, that of the folder that one works in."""
    found: dict[str, Any] = {"seg": __version__, "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}
    if (CHECKOUT / ".git").exists():
        found |= {name: value for name, value in _commit(CHECKOUT).items() if value is not None}
    elif own := _commit(Path.cwd()):
        found |= {f"project_{name}": value for name, value in own.items()}
    return found


def _commit(folder: Path) -> dict[str, Any]:
    """Return the commit of a checkout and whether files differ from it; nothing where there is none, or no git."""
    asked: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 5, "check": True}
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **asked).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **asked).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"commit": commit, "modified": bool(changed)}


def environment() -> dict[str, Any]:
    """Return the versions of what decides results, the system, the processor and the GPUs."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    found["system"] = f"{platform.system()} {platform.release()}"
    found["processor"], found["cores"] = _processor(), _cores()
    if torch.cuda.is_available():
        found["cuda"] = str(torch.version.cuda)
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def dataset(data: Any) -> dict[str, Any]:
    """Return the name, the sizes of the splits and a fingerprint of a data module's data set.

    The fingerprint changes with the classes, with any image's name and split, and with the length of any of its files;
    not with the folder that the data lie in, nor with when they were copied there.
    """
    if data is None:
        return {}
    found: dict[str, Any] = {"name": type(data).__name__}
    datasets = getattr(data, "datasets", {})
    digest = hashlib.sha256(repr((getattr(data, "class_names", None), getattr(data, "ignore_index", None))).encode())
    for split in sorted(datasets):
        pairs = datasets[split].pairs
        found[split] = len(pairs)
        for pair in pairs:
            digest.update(f"{split}\0{pair.id}\0".encode())
            for file in datasets[split].reader.files(pair):
                digest.update(f"{Path(file).name}\0{_length(file)}\n".encode())
    return {**found, "fingerprint": digest.hexdigest()[:16]} if datasets else found


def _length(file: str) -> int:
    with suppress(OSError):
        return os.stat(file).st_size
    return -1
