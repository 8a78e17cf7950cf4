"""How a fit ends: which checkpoint is judged, what it scores, and where everything lies."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, StochasticWeightAveraging

from seg import metrics
from seg.callbacks import draw_curves, run_loggers
from seg.guard import summaries
from seg.loggers import CSV
from seg.report.command import finish
from seg.report.record import ImageRecord
from seg.signs import signs


def judged(trainer: pl.Trainer, folder: Path) -> Path:
    """Return the checkpoint of a finished fit that is tested: averaged weights, or the best, or the last.

    Args:
        trainer: has finished its fit.
        folder: of the run's checkpoints.

    """
    best, last = (folder / f"{name}.ckpt" for name in ("best", "last"))
    return averaged(trainer, folder) or (best if best.exists() else last)


def averaged(trainer: pl.Trainer, folder: Path) -> Path | None:
    """Keep what StochasticWeightAveraging has averaged after the last checkpoint, if anything, as `swa.ckpt`."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    averaging = [callback for callback in callbacks if isinstance(callback, StochasticWeightAveraging)]
    for average in averaging:
        begun = average._latest_update_epoch >= 0  # in this fit, or in those that it goes on with
        if begun and average.swa_end < trainer.current_epoch and average._average_model is not None:
            # a fit with nothing left to train has not done this
            average.transfer_weights(average._average_model, trainer.lightning_module)
            break
    else:
        return None
    path = folder / "swa.ckpt"
    trainer.save_checkpoint(path)
    for callback in callbacks:
        if isinstance(callback, ImageRecord):
            callback.checkpoint = path
    return path


def take_weights(task: pl.LightningModule, checkpoint: Path) -> None:
    """Give a task the weights of a checkpoint."""
    task.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])


def close(trainer: pl.Trainer, csv: CSV, run: Path, tested: Path) -> None:
    """Draw the curves, print the scores and where everything lies, and close the loggers.

    Args:
        trainer: has tested the checkpoint.
        csv: logger of the run.
        run: its folder.
        tested: the checkpoint.

    """
    csv.flush()
    draw_curves(csv, run / "curves.png")
    show(trainer, "test")
    if tested.stem == "last" and tested.exists() and not tested.with_name("best.ckpt").exists():
        print("tested last.ckpt: no validation took place, so that there is no best.ckpt")
    if tested.stem == "swa":
        print("tested swa.ckpt: the average of StochasticWeightAveraging, which comes after every validation")
    for line in [*summaries(trainer), *signs(csv.series(), _occurring(trainer.lightning_module))]:
        print(line)
    places = {"checkpoint": tested, "curves": run / "curves.png", "examples": run / "examples", "numbers": csv.path}
    for label, path in places.items():
        if path.exists():
            print(f"{label + ':':<12}{path}")
    finish(run)
    for logger in run_loggers(trainer):
        logger.close()


def _occurring(task: Any) -> list[str] | None:
    """Return the classes that the last validation's masks hold, where there was one."""
    if (result := task.results.get("val")) is None:
        return None
    counted = result["confusion"].sum(1).tolist()
    return [name for name, pixels in zip(task.class_names, counted, strict=True) if pixels]


def show(trainer: pl.Trainer, stage: str) -> None:
    """Print the table of a stage's scores, "val" or "test", where it took place."""
    task: Any = trainer.lightning_module
    if stage not in task.results or not trainer.is_global_zero:
        return
    data = trainer.datamodule  # type: ignore[attr-defined]
    split = getattr(data, "test_split_name", stage) if stage == "test" else stage
    result = task.results[stage]
    print(f"\n{stage} mIoU {float(result['miou']):.4f}" + (f" (on the {split} split)" if split != stage else ""))
    print(metrics.table(result, task.class_names))
