"""Where the numbers of a run go: always a CSV file, and W&B where it is asked for, with or without an account."""

import csv
import netrc
import os
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger, WandbLogger

from seg.files import replacing

FLUSH_SECONDS = 5.0
"""How much of a run's numbers a crash may lose."""


class CSV(Logger):
    """Write `metrics.csv` into a run folder: a row an optimiser step, a column a logged name; resuming appends.

    Args:
        folder: the run folder; made with the first row.

    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: list[dict[str, Any]] = []
        self.columns: list[str] = ["step", "epoch"]
        self.written, self.stale, self.flushed_at = 0, False, 0.0
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                self.rows = [{name: text for name, text in row.items() if text} for row in reader]
                self.columns = list(reader.fieldnames or self.columns)
            self.written = len(self.rows)

    @property
    def name(self) -> str:
        """Return the name of the run's configuration."""
        return self.path.parent.parent.name

    @property
    def version(self) -> str:
        """Return the name of the run folder."""
        return self.path.parent.name

    @property
    def save_dir(self) -> str:
        """Return the run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder's config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add values to the row of a step."""
        values: dict[str, Any] = {name: float(value) for name, value in metrics.items()}
        if "epoch" in values:
            values["epoch"] = int(values["epoch"])
        if not self.rows or int(self.rows[-1]["step"]) != step:
            self.rows.append({"step": step})
        elif self.written == len(self.rows):
            self.stale = True
        self.rows[-1].update(values)

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop the rows of steps from `step` on: a resumed run makes them again."""
        kept = [row for row in self.rows if int(row["step"]) < step]
        if len(kept) < len(self.rows):
            self.rows, self.stale = kept, True
            self.flush()

    @rank_zero_only
    def save(self) -> None:
        """Write what is new every few seconds; Lightning calls this after every single value."""
        if time.monotonic() - self.flushed_at > FLUSH_SECONDS:
            self.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.flush()

    def flush(self) -> None:
        """Append the new rows; where a column is new or a written row has changed, write the whole file anew."""
        self.flushed_at = time.monotonic()
        pending = self.rows[self.written :]
        new = {name for row in (self.rows if self.stale else pending) for name in row} - set(self.columns)
        if not pending and not self.stale:
            return
        if new or self.stale or not self.path.exists():
            self.columns += sorted(new)
            with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self.columns, restval="")
                writer.writeheader()
                writer.writerows(self.rows)
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="").writerows(pending)
        self.written, self.stale = len(self.rows), False

    def series(self) -> dict[str, list[tuple[float, float]]]:
        """Return what was logged as name -> [(step, value), …]."""
        series: dict[str, list[tuple[float, float]]] = {}
        for row in self.rows:
            for name, value in row.items():
                if name not in ("step", "epoch"):
                    series.setdefault(name, []).append((float(row["step"]), float(value)))
        return series


class WandB(WandbLogger):
    """Log to Weights & Biases; without credentials the run is kept offline and training goes on.

    Args:
        project: W&B project.
        name: display name; the configuration's name and the run's version where not given.
        offline: keep the run on this machine even where there are credentials.
        entity: W&B user or team.
        tags: labels of the run.
        notes: free text.
        group: group of the run.
        log_model: upload checkpoints as artifacts (online runs only).

    """

    def __init__(
        self,
        project: str = "seg",
        name: str | None = None,
        offline: bool = False,
        entity: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        group: str | None = None,
        log_model: bool = False,
    ) -> None:
        self.wanted_offline = offline
        offline = offline or not has_credentials()
        import wandb

        super().__init__(
            name=name,
            project=project,
            offline=offline,
            log_model=log_model and not offline,
            entity=entity,
            tags=tags,
            notes=notes,
            group=group,
            settings=wandb.Settings(init_timeout=20),
        )

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return W&B's run; where W&B can't be reached within 20 seconds the run is kept offline."""
        try:
            return super().experiment
        except Exception as error:
            if self._offline:
                raise
            print(f"W&B: not reachable ({error}); this run is kept offline")
            self._offline, self._log_model = True, False
            return super().experiment

    def place(self, folder: Path) -> None:
        """Keep the run's files in a run folder; a resumed run continues under the id noted there."""
        noted = folder / "wandb_id"
        self._wandb_init["dir"] = self._save_dir = str(folder)
        self._wandb_init["name"] = self._name = self._name or f"{folder.parent.name}/{folder.name}"
        if noted.exists():
            self._wandb_init["id"] = self._id = noted.read_text(encoding="utf-8").strip()

    @rank_zero_only
    def remember(self, folder: Path) -> None:
        """Note the run's id in the run folder and say how an offline run is uploaded later."""
        (folder / "wandb_id").write_text(str(self.experiment.id), encoding="utf-8")
        if self._offline:
            why = "as asked" if self.wanted_offline else "no W&B credentials found (`wandb login` stores them)"
            print(f"W&B: offline, {why}; upload later with: wandb sync {folder}/wandb/offline-run-*")


def has_credentials() -> bool:
    """Tell whether W&B could log in without asking anyone: an API key in the environment or in the netrc file."""
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return False
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
