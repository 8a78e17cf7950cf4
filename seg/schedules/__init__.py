"""Learning-rate schedules per optimiser step, over the steps or the time of the run."""

from seg.schedules.base import Schedule, scheduler
from seg.schedules.curves import Constant, Cosine, Exponential, InverseTime, OneCycle, Poly, Step
from seg.schedules.plateau import Plateau

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "InverseTime",
    "OneCycle",
    "Plateau",
    "Poly",
    "Schedule",
    "Step",
    "scheduler",
]
