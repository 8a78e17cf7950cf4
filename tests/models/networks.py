"""Every network, with every option that it has, small enough to be tried in a blink."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from seg.models import FCN, SMP, DeconvNet, DeepLabLargeFOV, DeepLabV3, DeepLabV3Plus, SegNet, SegNetBasic, UNet


def small(kind: Callable[..., nn.Module], **defaults: object) -> Callable[..., nn.Module]:
    """Return a builder of a network of three classes; its arguments replace the defaults given here."""

    def build(**options: object) -> nn.Module:
        return kind(**{"num_classes": 3, **defaults, **options})

    return build


unet = partial(small, UNet, width=8)
fcn = partial(small, FCN, width=4)
segnet = partial(small, SegNet, width=4)
basic = partial(small, SegNetBasic, width=8)
deconvnet = partial(small, DeconvNet, width=4)
largefov = partial(small, DeepLabLargeFOV, width=4)
deeplab = partial(small, DeepLabV3, encoder="resnet18", channels=16)
deeplab_plus = partial(small, DeepLabV3Plus, encoder="resnet18", channels=16)

NETWORKS = {
    "unet": unet(),
    "unet_group": unet(norm="group"),
    "unet_instance": unet(norm="instance", depth=5),
    "unet_none": unet(norm="none"),
    "unet_bilinear": unet(upsampling="bilinear"),
    "unet_deep": unet(depth=6),
    "unet_dropout": unet(dropout=0.5),
    "unet_se": unet(attention="se"),
    "unet_cbam": unet(attention="cbam"),
    "unet_separable": unet(separable=True),
    "fcn": fcn(),
    "fcn_16s": fcn(variant="16s", upsampling="fixed"),
    "fcn_32s": fcn(variant="32s", encoder="vgg16_bn"),
    "fcn_group": fcn(norm="group"),
    "fcn_instance": fcn(norm="instance"),
    "fcn_resnet": fcn(encoder="resnet18"),
    "segnet": segnet(),
    "segnet_group": segnet(norm="group"),
    "segnet_instance": segnet(norm="instance"),
    "segnet_none": segnet(norm="none"),
    "segnet_se": segnet(attention="se"),
    "segnet_cbam_dropout": segnet(attention="cbam", dropout=0.5),
    "segnet_basic": basic(),
    "segnet_basic_none": basic(norm="none", attention="se", dropout=0.5),
    "segnet_basic_group": basic(norm="group"),
    "segnet_basic_instance": basic(norm="instance", attention="cbam"),
    "deconvnet": deconvnet(),
    "deconvnet_group": deconvnet(norm="group", dropout=0.5),
    "deconvnet_instance": deconvnet(norm="instance"),
    "deconvnet_none": deconvnet(norm="none"),
    "largefov": largefov(),
    "largefov_batch": largefov(norm="batch", rate=6),
    "largefov_group": largefov(norm="group"),
    "largefov_instance": largefov(norm="instance"),
    "deeplabv3": deeplab(),
    "deeplabv3_8": deeplab(output_stride=8, dilation="1-2-5", auxiliary=True),
    "deeplabv3_group": deeplab(norm="group", multi_grid=[1, 2]),
    "deeplabv3_instance": deeplab(norm="instance", output_stride=32),
    "deeplabv3_none": deeplab(norm="none", rates=[2, 4]),
    "deeplabv3_bottleneck": deeplab(encoder="resnet50", multi_grid=[1, 2, 4]),
    "deeplabv3plus": deeplab_plus(),
    "deeplabv3plus_8": deeplab_plus(output_stride=8, auxiliary=True, low_level_channels=8),
    "deeplabv3plus_separable": deeplab_plus(separable=True, decoder_convolutions=1),
    "deeplabv3plus_group": deeplab_plus(norm="group", dilation=[1, 3, 5]),
    "deeplabv3plus_instance": deeplab_plus(norm="instance"),
    "deeplabv3plus_none": deeplab_plus(norm="none"),
    "smp_unet": small(SMP, encoder="resnet18"),
}
ONE_OF_EACH = ["unet", "fcn", "segnet", "segnet_basic", "deconvnet", "largefov", "deeplabv3", "deeplabv3plus"]
"""One network a paper, for tests that take longer."""


def without_chance(net: nn.Module) -> nn.Module:
    """Turn dropout off and draw scores that start at zero, so that a gradient can reach everything."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
    return net


def outputs(result: torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]) -> list[torch.Tensor]:
    """Return the logits and those of auxiliary heads as one list."""
    return [result[0], *result[1]] if isinstance(result, tuple) else [result]
