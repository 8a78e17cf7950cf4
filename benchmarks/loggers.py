"""Time what loggers and gallery cost: `python benchmarks/loggers.py` (Shapes), `… --camvid data/CamVid`.

Fits with everything on (W&B offline with native masks and the checkpoint kept, TensorBoard, the run folder, gallery and
charts) and with everything off (no logger at all) take turns. Printed are the seconds of the training with its
validations, their ratio (target: at most 1.03), and, since machines are noisier than that, the share of its time that
the run with everything on spent inside loggers and gallery. What happens once, however long a run is, is told apart:
starting W&B with the first value, and the pictures and tables of the test.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from seg.callbacks import Records
from seg.data import CamVid, Shapes
from seg.errors import quiet
from seg.gallery import Gallery
from seg.loggers import CSV, TensorBoard, WandB
from seg.models import UNet
from seg.task import SegmentationTask
from seg.trainer import Trainer

TARGET = 1.03
LOGGED = ("log_metrics", "picture", "table", "save", "finalize", "record", "begin", "keep", "close")
SEEN = ("on_train_start", "on_validation_start", "on_validation_batch_end", "on_validation_end")
SEEN += ("on_test_batch_end", "on_test_end")


class Stopwatch(Callback):
    """Take the time of the training with its validations, from the first to the last batch."""

    def __init__(self) -> None:
        self.began = self.seconds = self.cpu_began = self.cpu = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self.began, self.cpu_began = time.perf_counter(), time.process_time()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds, self.cpu = time.perf_counter() - self.began, time.process_time() - self.cpu_began


class Inside:
    """Add up the time spent in some methods of some objects; calls within calls count once."""

    def __init__(self) -> None:
        self.seconds, self.cpu, self.depth = 0.0, 0.0, 0

    def watch(self, thing: Any, names: tuple[str, ...]) -> None:
        """Have the methods timed."""
        for name in names:
            setattr(thing, name, self._timed(getattr(thing, name)))

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            begun, cpu = time.perf_counter(), time.process_time()
            self.depth += 1
            try:
                return method(*arguments, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - begun
                    self.cpu += time.process_time() - cpu

        return timed


def data_of(options: argparse.Namespace, folder: Path) -> Any:
    """Return the data module that is trained on."""
    if options.camvid:
        return CamVid(str(options.camvid), batch_size=options.batch_size, num_workers=2)
    return Shapes(
        str(folder / "shapes"), train_images=400, val_images=100, batch_size=options.batch_size, num_workers=2
    )


def fit(options: argparse.Namespace, folder: Path, everything: bool) -> dict[str, float]:
    """Train and test once; return seconds."""
    torch.manual_seed(0)
    data = data_of(options, folder.parent)
    net = UNet(data.num_classes, width=options.width)
    task = SegmentationTask(net, data.class_names, data.class_colors, data.mean, data.std)
    watch, inside = Stopwatch(), Inside()
    callbacks: list[Callback] = [watch]
    loggers: list[Any] = []
    start = 0.0
    if everything:
        wandb, board = WandB(offline=True, log_model=True, native_masks=True), TensorBoard()
        loggers = [CSV(folder), wandb, board]
        for logger in loggers[1:]:
            logger.place(folder)
        begun = time.perf_counter()
        wandb.log_metrics({"epoch": 0.0}, 0)
        start = time.perf_counter() - begun
        gallery = Gallery(folder)
        for logger in loggers:
            inside.watch(logger, LOGGED)
        inside.watch(gallery, SEEN)
        callbacks += [Records(), gallery]
    trainer = Trainer(
        max_epochs=options.epochs,
        logger=loggers or False,
        callbacks=callbacks,
        log_every_n_steps=10,
        limit_train_batches=options.batches,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(task, data)
    found = {"training": watch.seconds, "inside": inside.seconds, "start of W&B": start}
    found |= {"cpu": watch.cpu, "inside, cpu": inside.cpu}
    inside.seconds, begun = 0.0, time.perf_counter()
    trainer.test(task, data, verbose=False)
    found |= {"test": time.perf_counter() - begun, "inside the test": inside.seconds}
    for logger in loggers:
        logger.close()
    return found


def main() -> None:
    """Print the seconds of both, and what the difference is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, help="folder of CamVid; Shapes is drawn where not given")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batches", type=int, help="training batches an epoch; all where not given")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--width", type=int, default=16, help="of the U-Net")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    quiet()

    runs: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as place:
        for repeat in range(options.repeats):
            for everything in (False, True):
                folder = Path(place) / "logged" / f"version_{repeat}_{everything}"
                runs[everything].append(fit(options, folder, everything))

    def median(everything: bool, name: str) -> float:
        return statistics.median(run[name] for run in runs[everything])

    off, on = median(False, "training"), median(True, "training")
    shares = [run["inside"] / run["training"] for run in runs[True]]
    print(f"training, everything off   {off:8.2f} s")
    print(f"training, everything on    {on:8.2f} s")
    print(f"ratio                      {on / off:8.3f}   target at most {TARGET}")
    print(f"inside loggers and gallery {statistics.median(shares):8.1%}   of the training with everything on")
    cpu = [run["inside, cpu"] / run["cpu"] for run in runs[True]]
    print(f"the same, processor time   {statistics.median(cpu):8.1%}   which other processes disturb less")
    print(f"once: start of W&B {median(True, 'start of W&B'):.2f} s, test {median(True, 'inside the test'):.2f} s")


if __name__ == "__main__":
    main()
