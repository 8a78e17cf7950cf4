"""What the doctor examines: a config's data module, or a whole run up to its first step."""

from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import BatchSizeFinder, Checkpoint, DeviceStatsMonitor, LearningRateMonitor
from pytorch_lightning.cli import LightningCLI

from seg.configured import BuildingCLI, Built, built, name_of
from seg.data.base import SegmentationData
from seg.doctor.measure import Scale
from seg.doctor.network import scale_of
from seg.task import SegmentationTask


class RunDoctorCLI(BuildingCLI):
    """Parse a config and build what it describes, with a trainer that neither logs nor saves nor prints."""

    def trainer_of(self, **kwargs: Any) -> Any:
        """Return the trainer."""
        given = self.config_init[self.subcommand].trainer.callbacks or []
        callbacks = [c for c in (given if isinstance(given, list) else [given]) if not isinstance(c, _LEFT_OUT)]
        self.trainer_defaults, self.save_config_callback = {}, None
        silent: dict[str, Any] = {
            **{"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "profiler": None},
            **{"enable_model_summary": False, "num_sanity_val_steps": 0, "fast_dev_run": False},
            # one process: others would each examine the same
            **{"devices": 1, "num_nodes": 1, "strategy": "auto", "callbacks": callbacks},
        }
        return LightningCLI.instantiate_trainer(self, **{**kwargs, **silent})


_LEFT_OUT: tuple[type[Callback], ...] = (Checkpoint, LearningRateMonitor, DeviceStatsMonitor, BatchSizeFinder)
"""Callbacks that write, refuse to go without a logger, or begin fits of their own in front of the run's."""


def configured(argv: list[str]) -> tuple[SegmentationData, Scale, str]:
    """Return the data module that arguments describe, what objects have to suit, and the config's name.

    Args:
        argv: as `seg fit` takes them.

    Raises:
        ValueError: a setting that cannot be, or no data set.

    """
    found, name = _described(argv, BuildingCLI, weights=False)  # nobody runs the network
    return found.data, scale_of(found.task.net, found.data.resize), name


def configured_run(argv: list[str]) -> tuple[Trainer, SegmentationTask, SegmentationData, str, str]:
    """Return trainer, task and data module that arguments describe, the config's name, and why weights are missing.

    Args:
        argv: as `seg fit` takes them.

    Returns:
        trainer, task, data module, name, and the error where weights could not be downloaded: "" where all is there.

    Raises:
        ValueError: a setting that cannot be, or no data set.

    """
    missing = ""
    try:
        found, name = _described(argv, RunDoctorCLI, weights=True)
    except ConnectionError as error:
        missing = str(error)
        found, name = _described(argv, RunDoctorCLI, weights=False)
    return found.trainer, found.task, found.data, name, missing


def _described(argv: list[str], cli: type[BuildingCLI], weights: bool) -> tuple[Built, str]:
    """Return what arguments describe and its name; refuse data that are none of seg's own."""
    found = built(argv, cli, weights)
    if not isinstance(found.data, SegmentationData):
        kind = "no data set is named" if found.data is None else f"{type(found.data).__name__} is none of seg's own"
        raise ValueError(f"data: {kind}; the doctor examines the files of seg's data modules")
    return found, name_of(argv)
