"""The encoders of segmentation-models-pytorch and timm, found by name, with weights from the net or from a file."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from seg.apple import AdaptiveAveragePool
from seg.models.blocks import BatchNorm2d
from seg.models.weights import adapt_channels, fill, read_weights, weights_wanted


class Pretrained:
    """What a `weights` setting means for an encoder of the library: a name to download, a file, or nothing.

    Args:
        encoder: a name of segmentation-models-pytorch, or tu- and one of timm's.
        weights: imagenet (or another name that the library has for the encoder), a file, or None.

    Raises:
        ValueError: no such encoder; names the nearest.
        FileNotFoundError: weights is neither a known name nor a file.

    """

    def __init__(self, encoder: str, weights: str | None) -> None:
        known = _known_weights(encoder)
        wanted = weights if weights_wanted() else None
        self.encoder = encoder
        self.source = f"weights: {weights}"
        self.name = wanted if wanted in known else None
        # Read before a network is built, which takes longer; downloads only what was asked for by name.
        self.state = None if wanted is None or self.name else _read(wanted, encoder, known)

    def build(self, what: str, build: Callable[[Any], Any]) -> Any:
        """Call `build` with the library's own argument for weights, and put its errors into words.

        Raises:
            ConnectionError: weights could not be downloaded.
            ValueError: the library cannot build it.

        """
        download = True if self.name and self.encoder.startswith("tu-") else self.name
        try:
            built = build(download)
        except (OSError, RuntimeError) as error:
            if self.name is None:
                raise ValueError(f"{what} cannot be built on {self.encoder}: {error}") from error
            raise ConnectionError(
                f"weights: '{self.name}' for the encoder {self.encoder} could not be downloaded "
                f"({type(error).__name__}). Check the connection; or download once where there is one, by building the "
                "same network, and copy the folder ~/.cache/huggingface here; or give a .pth file of the encoder; or "
                "null for random weights"
            ) from error
        except (TypeError, ValueError, KeyError, NotImplementedError) as error:
            raise ValueError(f"{what} cannot be built on {self.encoder}: {error}") from error
        import timm

        from seg.models.timm_norms import BatchNormAct2d

        alike = {
            nn.BatchNorm2d: BatchNorm2d,
            timm.layers.BatchNormAct2d: BatchNormAct2d,
            nn.AdaptiveAvgPool2d: AdaptiveAveragePool,
        }
        for module in built.modules():
            # the same layers but for single values and for Apple's GPUs, with the same state
            module.__class__ = alike.get(type(module), type(module))
        return built

    def load(self, network: nn.Module, wrapped: nn.Module, encoder: nn.Module) -> None:
        """Fill the whole network, what it wraps, or its encoder from the file, whichever the names belong to.

        Raises:
            ValueError: tensors that do not fit.

        """
        if (state := self.state) is None:
            return
        names = state.keys()
        candidates = [(network, "the network"), (wrapped, "the network"), (encoder, "the encoder")]
        module, what = max(candidates, key=lambda candidate: len(candidate[0].state_dict().keys() & names))
        own = module.state_dict()
        if module is encoder:
            # Classifiers of image nets have no place here; every other tensor must.
            state = {name: value for name, value in state.items() if name in own or not _is_head(name)}
            state = {name: _adapt(value, own[name]) if name in own else value for name, value in state.items()}
        fill(module, state, self.source, what)


def feature_encoder(name: str, in_channels: int, weights: str | None) -> tuple[nn.Module, Pretrained]:
    """Return an encoder of the library that gives maps of strides 1 to 32, and what its weights mean.

    Raises:
        ValueError: no such encoder, or one without maps of strides 8, 16 and 32.
        FileNotFoundError: weights is neither a known name nor a file.
        ConnectionError: weights could not be downloaded.

    """
    import segmentation_models_pytorch as smp  # three times torch's own import time

    pretrained = Pretrained(name, weights)

    def build(download: Any) -> Any:
        return smp.encoders.get_encoder(name, in_channels=in_channels, depth=5, weights=download)

    encoder: nn.Module = pretrained.build("an encoder of five levels", build)
    return encoder, pretrained


def unknown(setting: str, value: str, names: Iterable[str], nearest: Iterable[str] = (), show_all: bool = False) -> str:
    """Return an error that names what is nearest to a value, and all where they are few."""
    names = list(names)
    lower = {name.lower(): name for name in names}
    near = [*nearest, *(lower[name] for name in get_close_matches(value.lower(), lower, n=3, cutoff=0.5))]
    text = f"{setting}: '{value}' is unknown"
    text += f"; nearest: {', '.join(dict.fromkeys(near))}" if near else ""
    if show_all:
        return f"{text}; there are {', '.join(names)}"
    return f"{text}; there are {len(names)}: those of segmentation-models-pytorch, and tu- with a name of timm's"


def _known_weights(encoder: str) -> list[str]:
    """Return the names of downloadable weights of an encoder.

    Raises:
        ValueError: no such encoder; names the nearest.

    """
    import segmentation_models_pytorch as smp
    import timm

    if encoder.startswith("tu-"):
        if not timm.is_model(encoder.removeprefix("tu-")):
            raise ValueError(unknown("encoder", encoder, [f"tu-{name}" for name in timm.list_models()]))
        return ["imagenet"]
    if encoder not in smp.encoders.encoders:
        names = [*smp.encoders.encoders, *(f"tu-{name}" for name in timm.list_models())]
        nearest = [f"tu-{encoder}"] if timm.is_model(encoder) else []
        raise ValueError(unknown("encoder", encoder, names, nearest))
    return list(smp.encoders.encoders[encoder]["pretrained_settings"])


def _read(weights: str, encoder: str, known: list[str]) -> dict[str, Tensor]:
    """Return the tensors of a file; where there is none, name the weights that could be downloaded too."""
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f"weights: '{weights}' is neither a file nor weights known for {encoder} ({', '.join(known) or 'none'}); "
            "give one of them, the path of a .pth file, or null for random weights"
        )
    return read_weights(weights)


def _is_head(name: str) -> bool:
    """Return whether a tensor belongs to the classifier of an image classification network."""
    return name.split(".")[0] in {"fc", "classifier", "head", "last_linear", "_fc"}


def _adapt(weight: Tensor, own: Tensor) -> Tensor:
    """Return a first layer's weight for the channels of the network's own, as the library does."""
    if weight.ndim != 4 or own.ndim != 4 or weight.shape[2:] != own.shape[2:]:
        return weight
    return adapt_channels(weight, own.shape[1])
