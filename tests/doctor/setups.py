"""Set-ups that the doctor examines in tests: tiny networks on a tiny data set, healthy but for a test's fault."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seg.data import VOC, Shapes
from seg.doctor.findings import Finding
from seg.doctor.run import RunReport, examine_run
from seg.models import UNet
from seg.task import SegmentationTask
from seg.trainer import Trainer

CLASSES = Shapes(root="unused").class_names
NUMBER = len(CLASSES)


def data_of(root: Path, **settings: Any) -> VOC:
    """Return the small Shapes tree as a data module without processes or augmentation."""
    return VOC(str(root), **{"classes": CLASSES, "crop": (64, 64), "batch_size": 4, "num_workers": 0, **settings})


def task_of(data: Any, net: nn.Module | None = None, rate: float = 0.01, **settings: Any) -> SegmentationTask:
    """Return the task of a narrow U-Net, or another network, with AdamW."""
    facts = {name: getattr(data, name) for name in ("class_names", "class_colors", "ignore_index", "mean", "std")}
    settings = {"optimizer": partial(torch.optim.AdamW, lr=rate), "resize": data.resize, **settings}
    return SegmentationTask(net or UNet(data.num_classes, width=8, depth=2), **facts, **settings)


def trainer_of(**settings: Any) -> Trainer:
    """Return a trainer on the CPU that leaves nothing behind."""
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options = {
        "max_epochs": 10,
        "accelerator": "cpu",
        "precision": "32",
        "num_sanity_val_steps": 0,
        **silent,
        **settings,
    }
    return Trainer(enable_model_summary=False, **options)


class Doctor:
    """Examine set-ups of one data set.

    Args:
        root: of the small Shapes tree.

    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def report(
        self,
        *checks: str,
        net: nn.Module | None = None,
        change: Callable[[SegmentationTask], object] | None = None,
        data: Any = None,
        trainer: dict[str, Any] | None = None,
        seconds: float = 300.0,
        missing_weights: str = "",
        **settings: Any,
    ) -> RunReport:
        """Return what checks say of the healthy set-up, of another network, or of it after a change."""
        torch.manual_seed(0)
        data = data if data is not None else data_of(self.root)
        task = task_of(data, net, **settings)
        if change is not None:
            change(task)
        trained = trainer_of(**(trainer or {}))
        return examine_run(trained, task, data, "test", seconds, checks, missing_weights=missing_weights)

    def findings(self, *checks: str, **options: Any) -> list[Finding]:
        """Return the findings of checks."""
        return self.report(*checks, **options).findings

    def only(self, check: str, **options: Any) -> Finding:
        """Return the one finding that a check must lead to."""
        found = self.findings(check, **options)
        assert len(found) == 1, found
        return found[0]


class Plain(nn.Module):
    """Three convolutions with ReLUs, without norms; a place to plant faults in."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.classifier = nn.Conv2d(16, NUMBER, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.first(x)))
        return self.classifier(functional.relu(self.second(x)))


def frozen(task: SegmentationTask) -> None:
    """Keep the norms in evaluation mode, whatever mode the task is in."""
    task.net.norm.train = lambda mode=True: task.net.norm
    task.net.norm.eval()
    task.net.norm.training = False
