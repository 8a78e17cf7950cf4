"""The logger that writes to Weights & Biases, with or without an account, a connection, or the library itself."""

import netrc
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
from lightning_fabric.loggers.logger import rank_zero_experiment

from seg.files import replacing
from seg.loggers.base import Cell, Masks, RunLogger

STEP = "trainer/global_step"
"""The axis of all curves: the optimiser step, under the name that Lightning gives it."""
BEST = {
    "val/miou": "max",
    "val/pixel_accuracy": "max",
    "val/mean_accuracy": "max",
    "val/fw_iou": "max",
    "val/loss": "min",
    "train/loss": "min",
}
"""Which value of a run its summary shows, where the last one is not what counts."""
PATIENCE = 20
"""Seconds that W&B has to answer when a run begins."""
GRACE = 10
"""Seconds that W&B has to give up by itself, once the time for the last upload is over."""


class WandB(RunLogger):
    """Log to Weights & Biases; without credentials the run is kept offline and training goes on.

    Args:
        project: W&B project.
        name: display name; the configuration's name and the run's version where not given.
        offline: keep the run on this machine even where there are credentials.
        entity: W&B user or team.
        tags: labels of the run.
        notes: free text.
        group: group of the run.
        log_model: keep the best checkpoint as an artifact; an offline run's is uploaded when it is synced.
        native_masks: show the gallery's masks in W&B's own panels, in W&B's colours, beside the pictures drawn by seg.
        finish_timeout: seconds that the end of a run waits for the last upload at most. What is left then stays in the
            run folder, and the command that uploads it is printed.

    Raises:
        ValueError: a time that is not positive.

    """

    latest: ClassVar[Any] = None
    """The run that a logger of this process has opened last."""

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
        native_masks: bool = False,
        finish_timeout: float = 120.0,
    ) -> None:
        if not finish_timeout > 0:
            raise ValueError(f"finish_timeout: {finish_timeout}, but a number of seconds above 0 is expected")
        super().__init__()
        self.display_name = name
        self.settings = {"project": project, "entity": entity, "tags": tags, "notes": notes, "group": group}
        self.wanted_offline = offline
        self.log_model = log_model
        self.native_masks = native_masks
        self.finish_timeout = finish_timeout
        self.run: Any = None
        self.owned = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return W&B's run, started with the first use, or None where W&B cannot be used."""
        if self.run is None and not self.failed:
            try:
                self.run = self._start()
            except Exception as error:
                self.give_up(error)
        return self.run

    def _start(self) -> Any:
        """Start a run, or go on with the one whose id the run folder notes; offline where W&B is out of reach."""
        try:
            import wandb
        except ImportError as error:
            raise ImportError("the package wandb is not installed (pip install wandb)") from error
        if wandb.run is not None and wandb.run is WandB.latest:  # of a fit in this process that was stopped, or failed
            self._finish(wandb.run, exit_code=1)
        if wandb.run is not None:  # made by whoever trains: in a notebook, by a sweep's own script
            run = wandb.run
        else:
            noted = self.folder / "wandb_id"
            self.folder.mkdir(parents=True, exist_ok=True)  # W&B would write elsewhere
            options: dict[str, Any] = {
                **self.settings,
                "name": self.display_name or f"{self.folder.parent.name}/{self.folder.name}",
                "dir": str(self.folder.resolve()),  # W&B's own process may have begun in another folder
                "id": noted.read_text(encoding="utf-8").strip() if noted.is_file() else None,
                "resume": "allow",
                "settings": self._limits(wandb),
            }
            with stdout_on_stderr():
                wandb.setup()
            run = self._opened(wandb, options)
            self.owned, WandB.latest = True, run
            with replacing(noted) as temporary:
                temporary.write_text(str(run.id), encoding="utf-8")
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP)
        for metric, which in BEST.items():
            run.define_metric(metric, step_metric=STEP, summary=which)
        return run

    def _limits(self, wandb: Any) -> Any:
        """Return the settings that keep W&B from holding up a run; the last upload's is not known to older versions."""
        limits: dict[str, Any] = {"init_timeout": PATIENCE, "quiet": True}
        if hasattr(wandb.Settings(), "finish_timeout"):
            limits |= {"finish_timeout": self.finish_timeout, "finish_timeout_raises": True}
        return wandb.Settings(**limits)

    def _opened(self, wandb: Any, options: dict[str, Any]) -> Any:
        """Return a new run: online where there are credentials and W&B answers, offline otherwise."""
        if os.environ.get("WANDB_MODE") == "disabled":
            return wandb.init(**options)
        why = "as asked" if self.wanted_offline else ""
        if not why and not has_credentials():
            why = "no W&B credentials found (`wandb login` stores them)"
        if not why:
            try:
                return wandb.init(**options, mode="online")
            except Exception as error:
                why = f"W&B is not reachable ({error})"
        run = wandb.init(**options, mode="offline")
        print(f"W&B: offline, {why}; upload later with: wandb sync {self.folder}/wandb/offline-run-*", flush=True)
        return run

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers of an optimiser step."""
        self.attempt(lambda run: run.log({**metrics, STEP: step} if step is not None else dict(metrics)))

    def record(self, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Put all settings and facts into the run's config, where runs are filtered and compared by them."""
        self.attempt(lambda run: run.config.update({**config, **facts}, allow_val_change=True))

    def picture(self, key: str, picture: np.ndarray, step: int, caption: str = "", masks: Masks | None = None) -> None:
        """Show a picture; with `native_masks`, its image with the masks over it too."""

        def show(run: Any) -> None:
            import wandb

            shown: dict[str, Any] = {key: wandb.Image(picture, caption=caption)}
            if masks is not None and self.native_masks:
                names = dict(enumerate(masks.names)) | {255: "ignored"}
                laid = {what: {"mask_data": labels, "class_labels": names} for what, labels in masks.labels.items()}
                shown[f"masks/{key}"] = wandb.Image(masks.image, masks=laid, caption=caption)
            run.log({**shown, STEP: step})

        self.attempt(show)

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], step: int) -> None:
        """Show a table, which W&B lets one sort and filter; undefined numbers are empty."""

        def show(run: Any) -> None:
            import wandb

            def cell(value: Cell) -> Any:
                if isinstance(value, np.ndarray):
                    return wandb.Image(value)
                return None if isinstance(value, float) and value != value else value

            data = [[cell(value) for value in row] for row in rows]
            with self._staging():
                run.log({key: wandb.Table(columns=list(columns), data=data), STEP: step})

        self.attempt(show)

    def keep(self, checkpoint: Path) -> None:
        """Keep a checkpoint as an artifact of the run, where `log_model` is on."""

        def send(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(f"model-{run.id}", type="model")
            # not copied aside: that file stays where it is
            with self._staging():
                artifact.add_file(str(checkpoint), name=checkpoint.name, policy="immutable")
                run.log_artifact(artifact, aliases=["best", "latest"])

        if self.log_model:
            self.attempt(send)

    @contextmanager
    def _staging(self) -> Iterator[None]:
        """Have W&B keep what it is going to upload in the run folder: a home folder may be full, or not be shared."""
        if "WANDB_DATA_DIR" in os.environ:
            yield
            return
        os.environ["WANDB_DATA_DIR"] = str((self.folder / "wandb" / "data").resolve())
        try:
            yield
        finally:
            del os.environ["WANDB_DATA_DIR"]

    def close(self) -> None:
        """Finish the run, unless whoever trains has made it, within the time that there is for the last upload."""
        if self.run is not None and self.owned:
            try:
                self._finish(self.run)
            except Exception as error:
                self.give_up(error)
        self.run, self.failed = None, True  # silently: what comes now would start another run

    def _finish(self, run: Any, exit_code: int = 0) -> None:
        """Finish the run; where W&B does not come to an end, end its process, which would be waited for at the exit."""
        failures: list[Exception] = []
        place = Path(run.dir).parent

        def finish() -> None:
            try:
                run.finish(exit_code=exit_code)
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=finish, name="wandb-finish", daemon=True)
        thread.start()
        thread.join(self.finish_timeout + GRACE)
        if thread.is_alive():
            end_service()
        if thread.is_alive() or any(isinstance(error, TimeoutError) for error in failures):
            print(
                f"W&B: not all was uploaded within {self.finish_timeout:g} s; nothing is lost, upload the rest with: "
                f"wandb sync {place}",
                flush=True,
            )
        elif failures:
            raise failures[0]


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Have processes that start meanwhile print on stderr: W&B's own says good-bye after a run's last line of JSON."""
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def end_service() -> None:
    """End the processes that W&B has started in this one."""
    with suppress(ImportError):
        import psutil  # the versions of W&B that know no time limit bring it along

        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.name().startswith("wandb"):
                    child.kill()


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
