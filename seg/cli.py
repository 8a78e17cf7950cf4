"""The command line of training and evaluation: Lightning's, with run folders, config lookup and clear errors."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import TrainerStatus

from seg import jobs, runs
from seg.arguments import Parser, configs_in, expand, refuse_contradictions, typed_facts
from seg.callbacks import Examples, Records, SaveConfig
from seg.checkpoints import BestCheckpoint, resumable
from seg.closing import close, judged, show, take_weights
from seg.doctor.quick import QuickCheck
from seg.errors import quiet, told
from seg.gallery import Gallery
from seg.guard import Guard
from seg.loggers import CSV, RunLogger
from seg.memory import MemoryAdvice
from seg.models.weights import without_weights
from seg.output import HELP, outcome, taken
from seg.progress import progress
from seg.report.command import finish, leave
from seg.report.journal import Journal
from seg.report.record import ImageRecord
from seg.stopping import LastCheckpoint, in_order
from seg.task import SegmentationTask
from seg.trainer import Trainer

LINKS = {
    "data.num_classes": "model.net.init_args.num_classes",
    "data.in_channels": "model.net.init_args.in_channels",
    "data.class_names": "model.class_names",
    "data.class_colors": "model.class_colors",
    "data.ignore_index": "model.ignore_index",
    "data.mean": "model.mean",
    "data.std": "model.std",
    "data.clip": "model.clip",
    "data.image_kind": "model.image_kind",
    "data.resize": "model.resize",
}
"""Facts that the data module knows and nobody types a second time."""

DEFAULTS = {"default_root_dir": "runs", "log_every_n_steps": 10, "enable_model_summary": False}
"""Where seg's defaults differ from those of Lightning's Trainer."""


class SegCLI(LightningCLI):
    """Parse a configuration, build data, task and trainer, give the run its folder, run the subcommand."""

    run: Path | None = None
    checkpoint: Path | None = None
    judged: Path | None = None
    csv: CSV | None = None

    def __init__(self, default: str, args: list[str] | None) -> None:
        self.default = default
        super().__init__(
            SegmentationTask,
            LightningDataModule,
            subclass_mode_data=True,
            trainer_class=Trainer,
            trainer_defaults=dict(DEFAULTS),
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True, "save_to_log_dir": False},
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False, **{name: {"allow_abbrev": False} for name in self.subcommands()}},
            auto_configure_optimizers=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return fit, validate and test; predicting is `seg predict`, which needs nothing but a checkpoint."""
        return {name: skipped for name, skipped in LightningCLI.subcommands().items() if name != "predict"}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what the data module knows to the model."""
        parser.epilog = HELP
        for source, target in LINKS.items():
            parser.link_arguments(source, target, apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse argv after config names are looked up; settle the run's name and the checkpoint."""
        argv = expand(list(sys.argv[1:] if args is None else args), self.default)
        self.given = list(configs_in(argv))
        self.config = parser.parse_args(argv)
        config = self.config[self.config.subcommand]
        self.root = Path(config.trainer.default_root_dir or "runs")
        self.name = runs.run_name(next(iter(configs_in(argv)), None))
        self.job = jobs.current(int(config.trainer.num_nodes))
        given, config.ckpt_path = config.ckpt_path, None
        again = runs.started_again(self.root, self.name, self.job) if self.config.subcommand == "fit" else None
        given = again or given
        # kept out of the config: the saved one must start afresh, and must not be overlaid by the checkpoint's
        if given is None and self.config.subcommand != "fit":
            raise ValueError(f"seg {self.config.subcommand}: give the checkpoint to score with --ckpt_path")
        if given in ("last", "best"):
            self.checkpoint = runs.last_checkpoint(self.root, self.name, self.job).with_name(f"{given}.ckpt")
            print(f"{given} checkpoint of '{self.name}': {self.checkpoint}")
        elif given is not None:
            self.checkpoint = Path(given)
        if (asked := self.checkpoint) is not None:
            # the file may lie on the first process's machine alone, and is looked at there
            self.checkpoint = Path(
                jobs.agree(self.job, "checkpoint", lambda: str(resumable(asked, fall_back=given in ("last", again))))
            )

    def instantiate_classes(self) -> None:
        """Build data, task and trainer; note beforehand what is typed by hand, for links override it."""
        self.typed = typed_facts(self.config[self.config.subcommand], LINKS)
        # weights that a checkpoint is about to replace are neither read nor downloaded
        with without_weights() if self.checkpoint else nullcontext(), jobs.one_of_each_machine_first(self.job):
            super().instantiate_classes()

    def settle_data(self) -> None:
        """Refuse facts typed by hand that the data set knows otherwise; give it the run's seed where it has none."""
        refuse_contradictions(self.typed, self.datamodule, LINKS)
        if self.config[self.subcommand].data.init_args.get("seed") is None:
            self.datamodule.seed = int(self.config[self.subcommand].seed_everything or 0)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the trainer with the run folder, its checkpoints, pictures and loggers."""
        self.settle_data()
        config = self.config_init[self.subcommand].trainer
        if self.subcommand != "fit":
            self.save_config_callback = None
        if self.subcommand != "fit" or config.fast_dev_run:
            self.trainer_defaults = {"callbacks": [progress()]}
            if not config.fast_dev_run and config.enable_progress_bar is False:
                self.trainer_defaults = {}
            if self.evaluated is not None:
                self.trainer_defaults.setdefault("callbacks", []).append(ImageRecord(self.evaluated, self.checkpoint))
            return super().instantiate_trainer(logger=False, enable_checkpointing=False, **kwargs)
        self.run = runs.run_folder(self.checkpoint, self.root, self.name, self.job)
        folder = self.run / "checkpoints"
        callbacks = [
            *([] if config.enable_progress_bar is False else [progress()]),
            QuickCheck(),
            Records(),
            Examples(self.run / "examples"),
            *self.gallery(config.callbacks),
            BestCheckpoint(folder),
            Guard(),
            MemoryAdvice(),
            LastCheckpoint(folder),
            Journal(self.run),
            ImageRecord(self.run),
        ]
        self.trainer_defaults = {"callbacks": unless_given(callbacks, config.callbacks)}
        with self.forgotten_if_nothing_happens():
            return super().instantiate_trainer(logger=self.loggers(config.logger), **kwargs)

    @contextmanager
    def forgotten_if_nothing_happens(self) -> Iterator[None]:
        """Remove the run folder again if what is done here fails before anything was written into it."""
        try:
            yield
        except BaseException:
            if self.run is not None:
                runs.forget(self.run)
            raise

    def gallery(self, given: Any) -> list[Gallery]:
        """Return the gallery, unless the configuration has one of its own, which is placed in the run folder."""
        assert self.run is not None
        own = [callback for callback in given or [] if isinstance(callback, Gallery)]
        for gallery in own:
            gallery.place(self.run)
        return [] if own else [Gallery(self.run)]

    def loggers(self, given: Any) -> list[Logger]:
        """Return the CSV logger and those of the configuration, placed in the run folder."""
        assert self.run is not None
        self.csv = CSV(self.run)
        others = list(given) if isinstance(given, list | tuple) else [given] if isinstance(given, Logger) else []
        for logger in others:
            if isinstance(logger, RunLogger):
                logger.place(self.run)
        return [self.csv, *others]

    def after_instantiate_classes(self) -> None:
        """Hand the checkpoint to the subcommand; the tables of scores are seg's own."""
        self.config_init[self.subcommand]["ckpt_path"] = str(self.checkpoint) if self.checkpoint else None
        if self.subcommand != "fit":
            self.config_init[self.subcommand]["verbose"] = False

    def before_fit(self) -> None:
        """Say what is going to run, and where it is recorded."""
        count = sum(parameter.numel() for parameter in self.model.net.parameters())
        layout = "channels_last" if self.model.channels_last else "contiguous"
        if not self.trainer.is_global_zero:
            return
        where = self.run or "no run folder (fast_dev_run)"
        print(
            f"{type(self.model.net).__name__}, {count / 1e6:.2f} M parameters · {type(self.datamodule).__name__}, "
            f"{self.datamodule.num_classes} classes · {self.trainer.precision}, {layout} · {where}",
            flush=True,
        )

    def fit(self, **arguments: Any) -> None:
        """Train; Ctrl-C ends with a line that says how to go on."""
        try:
            with self.forgotten_if_nothing_happens():
                self.trainer.fit(**arguments)
        except SystemExit:
            if self.trainer.state.status != TrainerStatus.INTERRUPTED:
                raise
            if not self.trainer.is_global_zero:
                # Lightning kills all processes when one that it started ends with anything else than 0
                sys.exit(130 if self.job else 0)
            if self.run and (last := self.run / "checkpoints" / "last.ckpt").exists():
                print(f"stopped; go on with the same command and --ckpt_path {last}", flush=True)
            if self.csv and in_order(self.trainer):
                leave(self.csv)
            sys.exit(130)

    def after_fit(self) -> None:
        """Test the best checkpoint, or averaged weights, and close the run: scores per class, and where all lies."""
        if self.run is None or self.csv is None:
            return
        self.judged = tested = judged(self.trainer, self.run / "checkpoints")
        try:
            if self.trainer.strategy.broadcast(tested.exists()):
                # loaded here, not by the Trainer: a callback that averages weights would put its own in their place.
                # The test begins with the first process's weights in all: others may lie on machines without the file
                if tested.exists():
                    take_weights(self.model, tested)
                self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
        finally:
            if self.trainer.is_global_zero:
                close(self.trainer, self.csv, self.run, tested)

    def after_validate(self) -> None:
        """Show the scores of the validation split."""
        show(self.trainer, "val")
        if self.evaluated is not None and self.trainer.is_global_zero:
            finish(self.evaluated, "val")

    def after_test(self) -> None:
        """Show the scores of the test split."""
        show(self.trainer, "test")
        if self.evaluated is not None and self.trainer.is_global_zero:
            finish(self.evaluated, "test")

    @property
    def evaluated(self) -> Path | None:
        """The run whose checkpoint is evaluated with its own config, so that its folder takes record and report."""
        if self.subcommand == "fit" or self.config[self.subcommand].trainer.fast_dev_run or self.checkpoint is None:
            return None
        folder = runs.run_of(self.checkpoint)
        if folder is None or {Path(name).resolve() for name in self.given} != {(folder / "config.yaml").resolve()}:
            return None
        return folder


def unless_given(callbacks: list[Callback], given: Any) -> list[Callback]:
    """Return seg's callbacks without those that the configuration gives with settings of its own."""
    kinds = {type(callback) for callback in (given if isinstance(given, list) else [given])}
    return [callback for callback in callbacks if type(callback) not in kinds]


def main(args: list[str] | None = None, default: str = "") -> None:
    """Run the command line.

    Args:
        args: the arguments; those of the process where not given.
        default: subcommand that is meant where none is given.

    """
    quiet()
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.environ.pop(runs.ENVIRONMENT, None)
    argv, output = taken(sys.argv[1:] if args is None else args)

    def run() -> None:
        with output.directed():
            cli = SegCLI(default, argv)
        if cli.trainer.is_global_zero:
            output.finish(str(cli.subcommand), outcome(cli))

    told(run, training=True)
