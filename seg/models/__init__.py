"""Networks: normalised images in, raw logits of the same height and width out; plain torch, one paper a file."""

from seg.models.deconvnet import DeconvNet
from seg.models.deeplab import DeepLabV3, DeepLabV3Plus
from seg.models.deeplab_largefov import DeepLabLargeFOV
from seg.models.fcn import FCN
from seg.models.segnet import SegNet, SegNetBasic
from seg.models.smp import SMP
from seg.models.unet import UNet
from seg.models.weights import without_weights

__all__ = [
    "FCN",
    "SMP",
    "DeconvNet",
    "DeepLabLargeFOV",
    "DeepLabV3",
    "DeepLabV3Plus",
    "SegNet",
    "SegNetBasic",
    "UNet",
    "without_weights",
]
