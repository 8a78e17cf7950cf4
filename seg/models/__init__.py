"""Networks: normalised images in, raw logits of the same height and width out; plain torch, one paper a file."""

from seg.models.blocks import without_weights
from seg.models.smp import SMP
from seg.models.unet import UNet

__all__ = ["SMP", "UNet", "without_weights"]
