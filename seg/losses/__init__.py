"""Losses: raw logits and labels in, a scalar out; exact about ignored pixels, absent classes and half precision.

All compute in float32 (float64 where the logits are) with autocast off. Ignored pixels add nothing and receive a
gradient of exactly zero; a batch of nothing but ignored pixels gives 0 that is attached to the graph.
"""

from seg.losses.balance import BALANCES, balance
from seg.losses.base import Loss
from seg.losses.combine import Sum
from seg.losses.lovasz import Lovasz
from seg.losses.pixel import CrossEntropy, Focal
from seg.losses.region import Dice, Jaccard, Tversky

__all__ = ["BALANCES", "CrossEntropy", "Dice", "Focal", "Jaccard", "Loss", "Lovasz", "Sum", "Tversky", "balance"]
