"""The torch scheduler of a run, which goes on with the settings of now where a checkpoint holds others."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from seg.progress import say

NOT_SET = ("params", "name", "lr", "foreach", "fused", "capturable", "differentiable")
"""What stands in a group and is no setting: `lr` follows the base rate; how to compute goes with the loaded state."""


class Following(LambdaLR):
    """Follow a curve over a run; where a run goes on, changed settings of its optimiser hold from there on.

    Torch restores both the base rates and all that stands in an optimiser's groups. Settings are compared as they were
    given, then and now: what an optimiser itself moves in its groups goes on, and equal settings change no bit.

    Args:
        optimizer: its learning rates are the base rates.
        factor: returns what the base rates are multiplied by, of the optimiser steps already made.
        total: returns the optimiser steps of the whole run.

    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float], total: Callable[[], float]) -> None:
        self.total = total
        super().__init__(optimizer, factor)
        self.settings = [
            {name: value for name, value in group.items() if name not in NOT_SET} for group in optimizer.param_groups
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return what torch's scheduler returns, with the settings of the optimiser."""
        return {name: value for name, value in super().state_dict().items() if name != "total"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the steps that were made; settings and rates are those of now, and the log says which differ.

        Raises:
            ValueError: the checkpoint is one of a run with another kind of optimiser.

        """
        settings, rates = self.settings, self.base_lrs
        super().load_state_dict(state_dict)
        # checkpoints of before know no settings but the base rates
        given = state_dict.get("settings") or [{"initial_lr": rate} for rate in state_dict["base_lrs"]]
        self.settings, self.base_lrs = settings, rates
        changes: dict[str, str] = {}
        for group, now, then in zip(self.optimizer.param_groups, settings, given, strict=True):
            if unknown := sorted(now.keys() - group.keys()):
                raise ValueError(
                    "model.optimizer: the checkpoint holds the state of another kind than "
                    f"{type(self.optimizer).__name__} (it knows no {', '.join(unknown)}); go on with its own, or begin "
                    "anew with its weights: model.init_from"
                )
            for name in [name for name in now if name in then and then[name] != now[name]]:
                group[name] = now[name]
                label = "lr" if name == "initial_lr" else name
                changes.setdefault(label, f"{label} {shown(now[name])} instead of {shown(then[name])}")
        if changes:
            say(f"as set now, not as in the checkpoint: {', '.join(changes.values())}")
        total = self.total()
        if 0 < total < self.last_epoch:
            say(
                f"the schedule is past its end: {self.last_epoch} optimiser steps are made, with the settings of now "
                f"the run has {total:.0f}; what is left is trained at the end's rate"
            )
        for group, rate, factor in zip(self.optimizer.param_groups, rates, self.lr_lambdas, strict=True):
            coming = rate * factor(self.last_epoch)
            # a rate that was moved between two steps, as Plateau's is, may differ in its last bits, and keeps them
            if not math.isclose(group["lr"], coming, rel_tol=1e-9):
                group["lr"] = coming


def shown(value: Any) -> str:
    """Return a setting as people write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
