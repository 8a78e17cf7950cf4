"""The logger that writes TensorBoard's event files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_utilities.core.rank_zero import rank_zero_only

from seg.loggers.base import Cell, Masks, RunLogger

LISTED = 200
"""Rows of a table that are written as text; TensorBoard draws all of them at once."""


class TensorBoard(RunLogger):
    """Log to TensorBoard: event files in the run folder's `tensorboard`; `tensorboard --logdir runs` shows all runs.

    Args:
        flush_seconds: how often what is new is written to the disk.

    """

    def __init__(self, flush_seconds: int = 30) -> None:
        super().__init__()
        self.flush_seconds = flush_seconds
        self.begins_at: int | None = None
        self.writer: Any = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return torch's SummaryWriter, opened with the first use, or None where TensorBoard is not installed."""
        if self.writer is None and not self.failed:
            try:
                try:
                    from torch.utils.tensorboard import SummaryWriter
                except ImportError as error:
                    raise ImportError("the package tensorboard is not installed (pip install tensorboard)") from error
                # a resumed run's steps from here on replace those that were logged before
                self.writer = SummaryWriter(
                    str(self.folder / "tensorboard"), purge_step=self.begins_at, flush_secs=self.flush_seconds
                )
            except Exception as error:
                self.give_up(error)
        return self.writer

    def begin(self, step: int) -> None:
        """Hide what a resumed run is about to log again."""
        if step > 0:
            self.close()
            self.begins_at = step

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of an optimiser step."""
        values = {name: float(value) for name, value in metrics.items()}
        self.attempt(lambda writer: [writer.add_scalar(name, value, step) for name, value in values.items()])

    def record(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Write the settings and facts as texts."""
        rows = [[name, str(value)] for name, value in {**config, **facts}.items()]
        self.attempt(lambda writer: writer.add_text("config", _markdown(["name", "value"], rows), self.begins_at or 0))

    def picture(self, key: str, picture: np.ndarray, step: int, caption: str = "", masks: Masks | None = None) -> None:
        """Show a picture; captions have no place here."""
        self.attempt(lambda writer: writer.add_image(key, picture, step, dataformats="HWC"))

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """Write the first rows of a table as text; columns of pictures are left out."""
        kept = [i for i in range(len(columns)) if not any(isinstance(row[i], np.ndarray) for row in rows)]
        listed = [[_text(row[i]) for i in kept] for row in rows[:LISTED]]
        text = _markdown([columns[i] for i in kept], listed)
        if len(rows) > LISTED:
            text += f"\n\n… and {len(rows) - LISTED} rows more, see the run folder's tables"
        self.attempt(lambda writer: writer.add_text(key, text, step))

    @rank_zero_only
    def save(self) -> None:
        """Leave it to the writer when to write: Lightning calls this after every single value."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left; the test that follows a fit goes on in the same file."""
        if self.writer is not None:
            self.attempt(lambda writer: writer.flush())

    @rank_zero_only
    def close(self) -> None:
        """Close the file; what is logged afterwards opens another."""
        if self.writer is not None:
            self.attempt(lambda writer: writer.close())
        self.writer = None


def _text(value: Cell) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4f}"
    return "" if value is None else str(value)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )
