"""What a checkpoint of this project holds beside Lightning's own entries, and how other projects' are told."""

import pickle
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from seg.progress import say

FORMAT = 1
"""Version of the entry `seg`."""


def entry(trainer: pl.Trainer) -> dict[str, Any]:
    """Return what prediction and an exact resumption need: format, precision, state of the random generators."""
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    return {"format": FORMAT, "precision": str(trainer.precision), "generators": generators}


def checked_entry(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a checkpoint.

    Raises:
        ValueError: a checkpoint of another project, or of a later format.

    """
    held: Any = checkpoint.get("seg")
    if not isinstance(held, dict) or not isinstance(held.get("format"), int):
        raise ValueError("the checkpoint was not written by seg (it has no 'seg' entry); give a best.ckpt of a run")
    if held["format"] > FORMAT:
        raise ValueError(
            f"the checkpoint has format {held['format']}, this version of seg reads up to {FORMAT}; update seg"
        )
    return held


def check_classes(checkpoint: dict[str, Any], names: list[str]) -> None:
    """Refuse a checkpoint whose labels mean other classes than those of the data; other names alone are said.

    Args:
        checkpoint: its hyper-parameters name the classes that the network was trained on; another number of them is
            left to the network's shapes.
        names: of the data.

    Raises:
        ValueError: a class has another label there.

    """
    held: list[str] = checkpoint.get("hyper_parameters", {}).get("class_names") or names
    if held == names or len(held) != len(names):
        return
    if moved := [name for label, name in enumerate(names) if name in held and held[label] != name]:
        raise ValueError(
            f"data.classes: {', '.join(names)}, but the checkpoint was trained on {', '.join(held)}: "
            f"{', '.join(moved[:5])} would be counted as other classes; give the data the checkpoint's order"
        )
    renamed = [f"{new} (was {old})" for old, new in zip(held, names, strict=True) if old != new]
    say(f"classes have other names than in the checkpoint: {', '.join(renamed)}")


def absent(path: Path) -> FileNotFoundError:
    """Return the error of a checkpoint that is not there; of a folder of runs it names the newest that it holds."""
    patterns = ("best.ckpt", "checkpoints/best.ckpt", "*/checkpoints/best.ckpt")
    found = [file for pattern in patterns for file in path.glob(pattern)] if path.is_dir() else []
    newest = max(found, key=lambda file: file.stat().st_mtime, default=None)
    cure = f"; it is a folder, in which there is {newest}" if newest else ""
    return FileNotFoundError(f"{path}: there is no such checkpoint{cure}")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint of this project holds; no code in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no checkpoint of this project, a damaged one, or one of a later format.

    """
    if not path.is_file():
        raise absent(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # readers of pickles and archives fail in every way on bytes that are neither
        pickled = isinstance(error, pickle.UnpicklingError)
        text = (str(error) or type(error).__name__).partition("\n")[0][:200]
        reason = (
            "it does not consist of weights and plain values alone, and anything else is not read, for it could run "
            "code"
        )
        raise ValueError(f"{path} is not a checkpoint of seg, or is damaged: {reason if pickled else text}") from error
    try:
        checked_entry(checkpoint if isinstance(checkpoint, dict) else {})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for name in ("state_dict", "hyper_parameters"):
        if not isinstance(checkpoint.get(name), dict):
            raise ValueError(f"{path} is not a checkpoint of seg, or is damaged: it holds no {name}")
    return dict(checkpoint)


def restore_generators(generators: dict[str, Tensor]) -> None:
    """Put the random generators to where a checkpoint had them."""
    torch.set_rng_state(generators["cpu"])
    if "cuda" in generators and torch.cuda.is_available():
        torch.cuda.set_rng_state(generators["cuda"])
