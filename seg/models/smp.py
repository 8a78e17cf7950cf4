"""Every network of segmentation-models-pytorch (Iakubovskii 2019) with its own or timm's encoders."""

from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn

from seg.models.blocks import check_channels, check_images, crop, pad_to_multiple
from seg.models.encoders import Pretrained, unknown

_OURS = {
    "encoder_name": "encoder",
    "encoder_weights": "weights",
    "classes": "the data",
    "in_channels": "in_channels",
    "activation": "nothing (logits stay raw)",
    "aux_params": "nothing (there is no classification head)",
}
_SMALLEST = {"PAN": 128}  # its pyramid pools the last maps, of stride 16, three times more


class SMP(nn.Module):
    """Segment images with a network of segmentation-models-pytorch, exactly as that library builds it.

    Images of any height and width ≥ 32 are padded with zeros at the bottom and right to a multiple of the stride, and
    the logits cropped back. A batch norm that sees one value per channel in training uses its running statistics.

    Args:
        num_classes: 2 to 255.
        arch: Unet, UnetPlusPlus, MAnet, Linknet, FPN, PSPNet, DeepLabV3, DeepLabV3Plus, PAN, UPerNet, Segformer or DPT,
            in any case.
        encoder: a name of the library's encoders (resnet34, efficientnet-b0, mit_b0, …), or tu- and a name of timm's
            (tu-convnext_tiny); DPT takes timm's vision transformers (tu-vit_base_patch16_224.augreg_in21k).
        in_channels: channels of the image, 3 for RGB; pretrained first layers are adapted.
        weights: imagenet (or another name that the library has for the encoder) for a pretrained encoder, downloaded
            once; or a .pth file with a state dict of this network or of its encoder; or null for random weights.
        options: further arguments of the library's class by name, such as decoder_channels.

    Raises:
        ValueError: an unknown architecture, encoder or option (nearest names are listed), or weights that do not fit.
        FileNotFoundError: weights is neither a known name nor a file.
        ConnectionError: pretrained weights could not be downloaded; the message says what to do.

    """

    def __init__(
        self,
        num_classes: int,
        arch: str = "Unet",
        encoder: str = "resnet34",
        in_channels: int = 3,
        weights: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        import segmentation_models_pytorch as smp  # three times torch's own import time

        check_channels(num_classes, in_channels)
        classes = {kind.__name__.lower(): kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
        if arch.lower() not in classes:
            raise ValueError(unknown("arch", arch, [kind.__name__ for kind in classes.values()], show_all=True))
        kind = classes[arch.lower()]
        options = dict(options or {})
        for name in options:
            if name in _OURS:
                raise ValueError(f"options: {name} is set by {_OURS[name]}; remove it from the options")
            # The library swallows names that it does not know; timm's encoders take some of them.
            if name not in (accepted := _options(kind)) and not encoder.startswith("tu-"):
                raise ValueError(unknown(f"options for {kind.__name__}", name, accepted, show_all=True))
        if kind.__name__ == "DPT":
            options.setdefault("dynamic_img_size", True)
            if not encoder.startswith("tu-"):
                raise ValueError(
                    f"encoder: '{encoder}', but DPT takes vision transformers of timm, "
                    "such as tu-vit_base_patch16_224.augreg_in21k"
                )
        pretrained = Pretrained(encoder, weights)

        def build(download: Any) -> Any:
            arguments = {"encoder_name": encoder, "encoder_weights": download, "in_channels": in_channels}
            return kind(classes=num_classes, **arguments, **options)

        self.network = pretrained.build(f"arch, encoder, options: {kind.__name__}", build)
        self.num_classes = num_classes
        self.in_channels = in_channels
        # DPT's maps are halved once more inside its decoder.
        self.stride = max(self.network.encoder.output_stride, 32 if kind.__name__ == "DPT" else 1)
        self._smallest = _SMALLEST.get(kind.__name__, 0)
        pretrained.load(self, self.network, self.network.encoder)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W)."""
        check_images(images, self.in_channels)
        height, width = images.shape[-2:]
        x = pad_to_multiple(images, self.stride, self._smallest)
        return crop(self.network(x), height, width)


def _options(kind: type) -> list[str]:
    """Return the names of the arguments of a class of the library that `options` may set."""
    parameters = signature(kind.__init__).parameters.values()  # type: ignore[misc]
    names = [parameter.name for parameter in parameters if parameter.kind is not Parameter.VAR_KEYWORD]
    return [name for name in names if name not in _OURS and name != "self"]
