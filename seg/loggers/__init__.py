"""Where a run goes: always into its folder (CSV and PNG), and to W&B or TensorBoard where they are asked for."""

from seg.loggers.base import Masks, RunLogger
from seg.loggers.csv import CSV, run_folder
from seg.loggers.tensorboard import TensorBoard
from seg.loggers.wandb import WandB

__all__ = ["CSV", "Masks", "RunLogger", "TensorBoard", "WandB", "run_folder"]
