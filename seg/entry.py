"""What a checkpoint of this project holds beside Lightning's own entries, and how other projects' are told."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

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
    held: dict[str, Any] | None = checkpoint.get("seg")
    if held is None:
        raise ValueError("the checkpoint was not written by seg (it has no 'seg' entry); give a best.ckpt of a run")
    if held["format"] > FORMAT:
        raise ValueError(
            f"the checkpoint has format {held['format']}, this version of seg reads up to {FORMAT}; update seg"
        )
    return held


def restore_generators(generators: dict[str, Tensor]) -> None:
    """Put the random generators to where a checkpoint had them."""
    torch.set_rng_state(generators["cpu"])
    if "cuda" in generators and torch.cuda.is_available():
        torch.cuda.set_rng_state(generators["cuda"])
