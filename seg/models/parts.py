"""The encoder of a network and its layers in order, for all who treat them differently: rates, freezing."""

from torch import nn

_PLACES = ("encoder", "encoders", "stages", "down", "network.encoder")
"""Where the networks of this project and those of segmentation-models-pytorch keep it."""


def encoder_of(net: nn.Module) -> nn.Module | None:
    """Return the part of a network that turns the image into maps, or None where it has no such part."""
    for place in _PLACES:
        found: object = net
        for name in place.split("."):
            found = getattr(found, name, None)
        if isinstance(found, nn.Module):
            return found
    return None


def required_encoder(net: nn.Module, setting: str) -> nn.Module:
    """Return the encoder of a network.

    Args:
        net: the network.
        setting: what needs the encoder; named in the error.

    Raises:
        ValueError: the network has none.

    """
    if (encoder := encoder_of(net)) is None:
        raise ValueError(
            f"{setting}: {type(net).__name__} has no part that is known as its encoder ({', '.join(_PLACES)}); "
            "leave the setting out, or name the part so"
        )
    return encoder


def encoder_layers(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of an encoder in layers, from the image on.

    A layer is a block where blocks are stacked (a bottleneck of a ResNet, a block of a transformer), a stage where a
    stage is plain convolutions (VGG-16, U-Net). A norm between two blocks belongs to what it follows; parameters of the
    encoder itself (a transformer's positions) to the first layer.
    """
    layers: list[list[nn.Parameter]] = []
    for parameters in (list(part.parameters()) for part in _blocks(encoder)):
        if layers and all(parameter.ndim <= 1 for parameter in parameters):
            layers[-1] += parameters
        else:
            layers.append(parameters)
    held = {id(parameter) for layer in layers for parameter in layer}
    loose = [parameter for parameter in encoder.parameters() if id(parameter) not in held]
    return [loose + layers[0], *layers[1:]] if layers else [loose]


def _blocks(module: nn.Module) -> list[nn.Module]:
    """Return what has parameters below a module, containers of blocks opened."""
    named = dict(module.named_children())
    # MiT registers all its patch embeddings before the blocks of the first stage; all its names end in the stage
    names = sorted(named, key=lambda name: name[-1]) if "patch_embed2" in named else list(named)
    children = [named[name] for name in names if any(True for _ in named[name].parameters())]
    if len(children) == 1 and not list(module.parameters(recurse=False)) and list(children[0].children()):
        return _blocks(children[0])  # a wrapper
    blocks = []
    for child in children:
        stacked = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if stacked and all(list(part.children()) for part in child.children()):
            blocks += _blocks(child)
        else:
            blocks.append(child)
    return blocks
