"""Every network of segmentation-models-pytorch (Iakubovskii 2019) with its own or timm's encoders."""

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from seg.models.blocks import (
    BatchNorm2d,
    check_channels,
    check_images,
    crop,
    fill,
    pad_to_multiple,
    read_weights,
    weights_wanted,
)

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
            raise ValueError(_unknown("arch", arch, [kind.__name__ for kind in classes.values()], show_all=True))
        kind = classes[arch.lower()]
        options = dict(options or {})
        for name in options:
            if name in _OURS:
                raise ValueError(f"options: {name} is set by {_OURS[name]}; remove it from the options")
            # The library swallows names that it does not know; timm's encoders take some of them.
            if name not in (accepted := _options(kind)) and not encoder.startswith("tu-"):
                raise ValueError(_unknown(f"options for {kind.__name__}", name, accepted, show_all=True))
        if kind.__name__ == "DPT":
            options.setdefault("dynamic_img_size", True)
            if not encoder.startswith("tu-"):
                raise ValueError(
                    f"encoder: '{encoder}', but DPT takes vision transformers of timm, "
                    "such as tu-vit_base_patch16_224.augreg_in21k"
                )
        known = _known_weights(smp, encoder)
        wanted = weights if weights_wanted() else None
        pretrained = wanted if wanted in known else None
        # Read before building, which takes longer; downloads only what was asked for by name.
        state = None if wanted is None or pretrained else _read(wanted, encoder, known)

        def build(channels: int) -> nn.Module:
            download = True if pretrained and encoder.startswith("tu-") else pretrained
            arguments = {"encoder_name": encoder, "encoder_weights": download, "in_channels": channels}
            return kind(classes=num_classes, **arguments, **options)  # type: ignore[no-any-return]

        self.network = _build(build, in_channels, kind.__name__, encoder, pretrained)
        self.num_classes = num_classes
        self.in_channels = in_channels
        # DPT's maps are halved once more inside its decoder.
        self.stride = max(self.network.encoder.output_stride, 32 if kind.__name__ == "DPT" else 1)  # type: ignore[union-attr, operator]
        self._smallest = _SMALLEST.get(kind.__name__, 0)
        for module in self.network.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = BatchNorm2d  # the same layer but for single values, with the same state

        if state is not None:
            self._load(state, f"weights: {weights}")

    def forward(self, images: Tensor) -> Tensor:
        """Return raw logits (B, num_classes, H, W) of normalised images (B, in_channels, H, W)."""
        check_images(images, self.in_channels)
        height, width = images.shape[-2:]
        x = pad_to_multiple(images, self.stride, self._smallest)
        return crop(self.network(x), height, width)

    def _load(self, state: dict[str, Tensor], source: str) -> None:
        """Fill the whole network, or its encoder, whichever the names belong to."""
        encoder = self.network.encoder
        assert isinstance(encoder, nn.Module)
        candidates = [(self, "the network"), (self.network, "the network"), (encoder, "the encoder")]
        module, what = max(candidates, key=lambda candidate: len(candidate[0].state_dict().keys() & state.keys()))
        own = module.state_dict()
        if module is encoder:
            # Classifiers of image nets have no place here; every other tensor must.
            state = {name: value for name, value in state.items() if name in own or not _is_head(name)}
            state = {name: _adapt(value, own[name]) if name in own else value for name, value in state.items()}
        fill(module, state, source, what)


def _options(kind: type) -> list[str]:
    """Return the names of the arguments of a class of the library that `options` may set."""
    parameters = signature(kind.__init__).parameters.values()  # type: ignore[misc]
    names = [parameter.name for parameter in parameters if parameter.kind is not Parameter.VAR_KEYWORD]
    return [name for name in names if name not in _OURS and name != "self"]


def _build(build: Any, in_channels: int, arch: str, encoder: str, pretrained: str | None) -> Any:
    """Build the library's network and put its errors into words."""
    try:
        return build(in_channels)
    except (OSError, RuntimeError) as error:
        if pretrained is None:
            raise ValueError(f"arch, encoder: {arch} cannot be built on {encoder}: {error}") from error
        raise ConnectionError(
            f"weights: '{pretrained}' for the encoder {encoder} could not be downloaded ({type(error).__name__}). "
            "Check the connection; or download once where there is one, by building the same network, and copy the "
            "folder ~/.cache/huggingface here; or give a .pth file of the encoder; or null for random weights"
        ) from error
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise ValueError(f"arch, encoder, options: {arch} cannot be built on {encoder}: {error}") from error


def _known_weights(smp: Any, encoder: str) -> list[str]:
    """Return the names of downloadable weights of an encoder.

    Raises:
        ValueError: no such encoder; names the nearest.

    """
    if encoder.startswith("tu-"):
        import timm

        if not timm.is_model(encoder.removeprefix("tu-")):
            raise ValueError(_unknown("encoder", encoder, [f"tu-{name}" for name in timm.list_models()]))
        return ["imagenet"]
    if encoder not in smp.encoders.encoders:
        import timm

        names = [*smp.encoders.encoders, *(f"tu-{name}" for name in timm.list_models())]
        nearest = [f"tu-{encoder}"] if timm.is_model(encoder) else []
        raise ValueError(_unknown("encoder", encoder, names, nearest))
    return list(smp.encoders.encoders[encoder]["pretrained_settings"])


def _read(weights: str, encoder: str, known: list[str]) -> dict[str, Tensor]:
    """Return the tensors of a file; where there is none, name the weights that could be downloaded too."""
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f"weights: '{weights}' is neither a file nor weights known for {encoder} ({', '.join(known) or 'none'}); "
            "give one of them, the path of a .pth file, or null for random weights"
        )
    return read_weights(weights)


def _unknown(
    setting: str, value: str, names: Iterable[str], nearest: list[str] | None = None, show_all: bool = False
) -> str:
    """Return an error that names what is nearest to a value, and all where they are few."""
    names = list(names)
    lower = {name.lower(): name for name in names}
    near = (nearest or []) + [lower[name] for name in get_close_matches(value.lower(), lower, n=3, cutoff=0.5)]
    text = f"{setting}: '{value}' is unknown"
    text += f"; nearest: {', '.join(dict.fromkeys(near))}" if near else ""
    if show_all:
        return f"{text}; there are {', '.join(names)}"
    return f"{text}; there are {len(names)}: those of segmentation-models-pytorch, and tu- with a name of timm's"


def _is_head(name: str) -> bool:
    """Return whether a tensor belongs to the classifier of an image classification network."""
    return name.split(".")[0] in {"fc", "classifier", "head", "last_linear", "_fc"}


def _adapt(weight: Tensor, own: Tensor) -> Tensor:
    """Return a first layer's weight for other channels: repeated and scaled, or summed to one, as the library does."""
    if weight.ndim != 4 or weight.shape[1] != 3 or own.shape[1] == 3 or weight.shape[2:] != own.shape[2:]:
        return weight
    channels = own.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // 3), 1, 1)[:, :channels]
    return repeated * (3 / channels)
