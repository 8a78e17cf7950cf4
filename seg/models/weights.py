"""Weights from files and from the net: read, checked, matched to a network or its encoder, or left out altogether."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import Tensor, nn

_weights_wanted: ContextVar[bool] = ContextVar("weights_wanted", default=True)


@contextmanager
def without_weights() -> Iterator[None]:
    """Build networks without reading or downloading what their `weights` argument names.

    For rebuilding a trained network: its checkpoint brings all weights, so neither the network nor the file that
    training once started from is needed.

    Example:
        with without_weights():
            net = UNet(2, weights="a/file/that/is/gone.pth")
        net.load_state_dict(trained)

    """
    token = _weights_wanted.set(False)
    try:
        yield
    finally:
        _weights_wanted.reset(token)


def weights_wanted() -> bool:
    """Return whether networks are to load what `weights` names, that is, unless inside `without_weights`."""
    return _weights_wanted.get()


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Fill a network from a file: a state dict saved by `torch.save`, or a checkpoint of this project.

    Args:
        network: receives every tensor.
        path: a .pth or .ckpt file; of a checkpoint, the part that belongs to the network (`net.`) is taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors, or tensors whose names or shapes differ from the network's.

    """
    state = read_weights(path)
    fill(network, state, f"weights: {path}", type(network).__name__)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a .pth file by name, or those of the network (`net.`) of a checkpoint.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of tensors.

    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights: there is no file {path}; give the path of a .pth file, or null for random weights"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds here: UnpicklingError, RuntimeError, EOFError, …
        raise ValueError(
            f"weights: {path} cannot be read as tensors saved by torch.save(net.state_dict(), …)"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
        inside = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
        state = inside or state
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights: {path} holds no state dict; save one with torch.save(net.state_dict(), path)")
    return state


def fill(module: nn.Module, state: dict[str, Tensor], source: str, what: str) -> None:
    """Load a state dict, or say which tensors do not fit.

    Args:
        module: receives every tensor.
        state: tensors by name.
        source: begins the error, such as "weights: file.pth".
        what: the module's name in the error.

    Raises:
        ValueError: names or shapes differ; the first three are named.

    """
    expected = module.state_dict()
    # Files older than torch 0.4.1, such as torchvision's first ResNets, have none, and no norm here depends on it.
    counts = {name: value for name, value in expected.items() if name.endswith(".num_batches_tracked")}
    state = {**counts, **state}
    problems = [f"{name} is missing" for name in expected if name not in state]
    problems += [f"{name} is not in the network" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, the network's {tuple(value.shape)}"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ValueError(
            f"{source} does not fit {what}: {shown}. "
            "Use a file of the same network with the same settings, or null for random weights"
        )
    module.load_state_dict(state)


def load_own_or(network: nn.Module, weights: str, encoder: str) -> dict[str, Tensor] | None:
    """Fill a network from a file of its own weights, or return the tensors of its encoder for the caller to place.

    Args:
        network: receives every tensor, if the file is one of the whole network.
        weights: imagenet for those that torchvision offers for the encoder, downloaded once; or a file.
        encoder: torchvision's name of the encoder.

    Returns:
        the encoder's tensors in torchvision's naming, or None where the network is filled already.

    Raises:
        FileNotFoundError: `weights` is neither imagenet nor a file.
        ConnectionError: the weights cannot be downloaded.
        ValueError: not a file of tensors, or tensors that do not fit the network.

    """
    if weights == "imagenet":
        return imagenet_weights(encoder)
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f"weights: '{weights}' is neither a file nor imagenet; give one of them, or null for random weights"
        )
    state = read_weights(weights)
    if not network.state_dict().keys() & state.keys():
        return state
    fill(network, state, f"weights: {weights}", type(network).__name__)
    return None


def imagenet_weights(network: str) -> dict[str, Tensor]:
    """Return torchvision's weights of an ImageNet classifier, downloaded once and checked by the hash in their name.

    Raises:
        ConnectionError: they cannot be downloaded, or what came is something else.
        ValueError: the file that was kept is damaged.

    """
    from torchvision.models import get_model_weights  # slow to import, and seldom needed

    return download(get_model_weights(network)["IMAGENET1K_V1"].url, f"'imagenet' for the encoder {network}")


def download(url: str, what: str) -> dict[str, Tensor]:
    """Return the tensors of a file on the net; it is kept in torch's folder of checkpoints (TORCH_HOME).

    Args:
        url: its name ends in a dash and the first digits of its SHA-256, as torch's own downloads do.
        what: what it is, for the error.

    Raises:
        ConnectionError: it cannot be downloaded, or what came has another hash.
        ValueError: the file that was kept is damaged.

    """
    kept = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        digits = kept.stem.rpartition("-")[2]
        try:
            torch.hub.download_url_to_file(url, str(kept), hash_prefix=digits, progress=sys.stderr.isatty())
        except (OSError, RuntimeError) as error:  # no connection, an HTTP status; another hash
            raise ConnectionError(
                f"weights: {what} could not be downloaded from {url} ({error}). Check the connection; or download it "
                f"where there is one and put it at {kept}, or give its path; or null for random weights"
            ) from error
    return read_weights(kept)


def adapt_channels(weight: Tensor, channels: int, before: int = 3) -> Tensor:
    """Return a first layer's weight (O, before, k, k) for images of other channels, (O, channels, k, k).

    Summed for one channel; repeated for others and scaled, so that the response to a grey image keeps its strength.
    """
    if weight.ndim != 4 or weight.shape[1] != before or channels == before:
        return weight
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // before), 1, 1)[:, :channels]
    return repeated * (before / channels)
