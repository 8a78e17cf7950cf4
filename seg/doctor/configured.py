"""What a config describes, built by the parser that trains: every override means the same."""

from contextlib import nullcontext
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint, DeviceStatsMonitor, LearningRateMonitor
from pytorch_lightning.cli import LightningCLI

from seg import runs
from seg.arguments import configs_in, refuse_contradictions
from seg.cli import LINKS, SegCLI
from seg.data.base import SegmentationData
from seg.doctor.measure import Scale
from seg.doctor.network import scale_of
from seg.models.weights import without_weights
from seg.task import SegmentationTask


class Built(Exception):
    """What a config describes; raised, because that is where the command line's own way ends: nothing is to be run."""

    def __init__(self, data: Any, task: SegmentationTask, trainer: Trainer | None = None) -> None:
        super().__init__()
        self.data, self.task, self.trainer = data, task, trainer


class DoctorCLI(SegCLI):
    """Parse a config and build what it describes, but neither a run folder nor a trainer."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """End here, data module and task being built.

        Raises:
            Built: with both.
            ValueError: facts typed by hand that disagree with the data set.

        """
        refuse_contradictions(self.typed, self.datamodule, LINKS)
        raise Built(self.datamodule, self.model)


class RunDoctorCLI(SegCLI):
    """Parse a config and build what it describes, with a trainer that neither logs nor saves nor prints."""

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """End here, all being built.

        Raises:
            Built: with everything.
            ValueError: facts typed by hand that disagree with the data set.

        """
        refuse_contradictions(self.typed, self.datamodule, LINKS)
        settings = self.config_init[self.subcommand]
        if self.config[self.subcommand].data.init_args.get("seed") is None:
            self.datamodule.seed = int(self.config[self.subcommand].seed_everything or 0)
        given = settings.trainer.callbacks or []
        callbacks = [c for c in (given if isinstance(given, list) else [given]) if not isinstance(c, _WRITING)]
        self.trainer_defaults, self.save_config_callback = {}, None
        silent: dict[str, Any] = {
            **{"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "profiler": None},
            **{"enable_model_summary": False, "num_sanity_val_steps": 0, "fast_dev_run": False},
            # one process: others would each examine the same
            **{"devices": 1, "num_nodes": 1, "strategy": "auto", "callbacks": callbacks},
        }
        trainer = LightningCLI.instantiate_trainer(self, **{**kwargs, **silent})
        raise Built(self.datamodule, self.model, trainer)


_WRITING: tuple[type[Callback], ...] = (Checkpoint, LearningRateMonitor, DeviceStatsMonitor)
"""Callbacks that write, or refuse to go without a logger."""


def configured(argv: list[str]) -> tuple[SegmentationData, Scale, str]:
    """Return the data module that arguments describe, what objects have to suit, and the config's name.

    Args:
        argv: as `seg fit` takes them.

    Raises:
        ValueError: a setting that cannot be, or no data set.

    """
    built, name = _built(DoctorCLI, argv, weights=False)  # nobody runs the network
    return built.data, scale_of(built.task.net, built.data.resize), name


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
        built, name = _built(RunDoctorCLI, argv, weights=True)
    except ConnectionError as error:
        missing = str(error)
        built, name = _built(RunDoctorCLI, argv, weights=False)
    assert built.trainer is not None
    return built.trainer, built.task, built.data, name, missing


def _built(cli: type[SegCLI], argv: list[str], weights: bool) -> tuple[Built, str]:
    """Build what arguments describe, the weights that the config names read or left out."""
    name = runs.run_name(next(iter(configs_in(argv)), None))
    try:
        with nullcontext() if weights else without_weights():
            cli("fit", argv)
    except Built as built:
        if isinstance(built.data, SegmentationData):
            return built, name
        kind = "no data set is named" if built.data is None else f"{type(built.data).__name__} is none of seg's own"
        raise ValueError(f"data: {kind}; the doctor examines the files of seg's data modules") from None
    raise AssertionError("building ends in Built")
