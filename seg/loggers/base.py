"""What every logger of seg takes beside Lightning's numbers: pictures, tables, and where the run comes from."""

from abc import abstractmethod
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger

Cell = str | float | int | np.ndarray | None
"""What a table may hold: text, a number (nan where undefined), a picture uint8 (H, W, 3), or nothing."""


class Masks(NamedTuple):
    """The parts of a picture, for loggers that lay masks over an image themselves."""

    image: np.ndarray
    """uint8 (H, W, 3)."""
    labels: dict[str, np.ndarray]
    """uint8 (H, W), 255 = ignore, by what they are: "truth", "prediction"."""
    names: Sequence[str]
    """One a class."""


class RunLogger(Logger):
    """A logger of Lightning's that shows pictures and tables too; all of them write from the first process alone.

    A run goes on whatever happens to a logger: one that fails says so once and is silent from then on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path()
        self.failed = False

    def place(self, folder: Path) -> None:
        """Keep the files of the run in a run folder; called once, before anything is logged."""
        self.folder = Path(folder)

    def begin(self, step: int) -> None:
        """Start, or go on, at an optimiser step; what was logged from it on is about to be logged again."""

    @abstractmethod
    def record(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Keep where the run comes from: its settings, and code, environment and data set, as flat names."""

    @abstractmethod
    def picture(self, key: str, picture: np.ndarray, step: int, caption: str = "", masks: Masks | None = None) -> None:
        """Show a picture, uint8 (H, W, 3), under a name that stays the same through the run."""

    @abstractmethod
    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """Show a table."""

    def keep(self, checkpoint: Path) -> None:
        """Keep a checkpoint, where that was asked for."""

    def close(self) -> None:
        """End the run: all that was logged is on the disk or sent."""

    @property
    def save_dir(self) -> str:
        """Return the run folder."""
        return str(self.folder)

    @property
    def name(self) -> str:
        """Return the name of the run's configuration."""
        return self.folder.parent.name

    @property
    def version(self) -> str:
        """Return the name of the run folder."""
        return self.folder.name

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `record` takes the whole configuration."""

    @property
    def experiment(self) -> Any:
        """Return what another library logs with, opened with the first use; None where there is none, or no longer."""
        return None

    @rank_zero_only
    def attempt(self, action: Callable[[Any], object]) -> None:
        """Do something with what `experiment` gives; its failures end the logger's use here, never the training."""
        opened = self.experiment
        if opened is None or self.failed:
            return
        try:
            action(opened)
        except Exception as error:
            self.give_up(error)

    def give_up(self, error: BaseException) -> None:
        """Say once what went wrong; nothing more is logged here."""
        if not self.failed:
            print(
                f"{type(self).__name__}: {error}; the run goes on without it, its numbers are in metrics.csv",
                flush=True,
            )
        self.failed = True
