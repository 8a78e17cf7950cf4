"""One fold of a cross-validation: a run like any other, scored on the part that it did not train on.

`seg crossval` starts this module in a process of its own for each fold, so that no fold inherits anything of another.
"""

import json
import sys
from pathlib import Path
from typing import Any

from seg import runs
from seg.callbacks import run_loggers
from seg.checkpoints import resumable
from seg.cli import SegCLI
from seg.errors import quiet, told
from seg.files import replacing

SCORES = "scores.json"
"""What a finished fold leaves in its folder."""


class FoldCLI(SegCLI):
    """Train as `seg fit` does, then score the checkpoint on the fold's validation part instead of testing it.

    Args:
        folder: `…/fold_<k>`; the run's own folder is made in it.
        tested: which checkpoint is scored, best or last.
        args: arguments of `seg fit`.

    """

    def __init__(self, folder: Path, tested: str, args: list[str]) -> None:
        self.folder, self.tested = folder, tested
        super().__init__("fit", args)

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Parse; runs of this fold lie in its folder, whatever the config is called."""
        super().parse_arguments(parser, args)
        self.root, self.name = self.folder.parent, self.folder.name

    def after_fit(self) -> None:
        """Score the checkpoint on the fold and write the confusion matrix down.

        Raises:
            ValueError: a dry run, which leaves no checkpoint.

        """
        if self.run is None:
            raise ValueError("seg crossval: trainer.fast_dev_run leaves no checkpoint to score; leave it out")
        checkpoint = self.average() or self.run / "checkpoints" / f"{self.tested}.ckpt"
        if not checkpoint.exists():
            raise ValueError(
                f"{checkpoint}: there is no such checkpoint to score; best.ckpt is written by a validation, last.ckpt "
                "at the end of an epoch: train for longer, validate more often, or choose the other with --checkpoint"
            )
        self.take_weights(checkpoint)
        for logger in run_loggers(self.trainer) if self.trainer.is_global_zero else []:
            logger.close()
        self.trainer.loggers = []  # the run's curves end where its training ended
        self.trainer.validate(self.model, datamodule=self.datamodule, verbose=False)
        if not self.trainer.is_global_zero:
            return
        result = self.model.results["val"]
        scores = {
            "checkpoint": str(checkpoint.relative_to(self.folder)),
            "class_names": self.model.class_names,
            "include_background": self.model.include_background,
            "images": len(self.datamodule.val_dataloader().dataset),
            "confusion": result["confusion"].tolist(),
        }
        with replacing(self.folder / SCORES) as temporary:
            temporary.write_text(json.dumps(scores), encoding="utf-8")
        self.close(checkpoint)
        self.show("val")


def unfinished(folder: Path) -> Path | None:
    """Return the `last.ckpt` from which a fold that was stopped goes on, if it got as far as one; else the one before.

    Raises:
        ValueError: all that it has are damaged.

    """
    try:
        return resumable(runs.last_checkpoint(folder.parent, folder.name), fall_back=True)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{folder}: none of its checkpoints is whole; start over with --new") from error


if __name__ == "__main__":
    quiet()
    told(lambda: FoldCLI(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]), training=True)
