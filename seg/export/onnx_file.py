"""An ONNX file of a traced network, with what it means in its metadata."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from seg.export.card import Card

OPSET = 20
"""What torch's exporter writes without being asked, so that no operator is translated a second time."""


def write_onnx(program: "ExportedProgram", path: Path, card: "Card") -> None:
    """Write a program as one ONNX file: input `images` (batch, N, height, width), output named after what it is.

    Raises:
        ImportError: onnx or onnxscript is not installed.

    """
    need("onnx", "onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its versions
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=[card.output],
        )
    assert exported is not None
    save(exported.model_proto, path, card)


def save(model: Any, path: Path, card: "Card") -> None:
    """Write a model under its card, without what the exporter notes of the machine that it ran on."""
    import onnx

    graph = model.graph
    names = {}
    for value in (*graph.input, *graph.output):
        sides = ["batch", "channels", "height", "width"]
        sides = sides if len(value.type.tensor_type.shape.dim) == 4 else ["batch", "height", "width"]
        for side, dimension in zip(sides, value.type.tensor_type.shape.dim, strict=True):
            if dimension.HasField("dim_param"):
                names[side] = dimension.dim_param = side
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, *model.functions, graph):
        del part.metadata_props[:]  # stack traces, with the paths of this machine
    del graph.value_info[:]  # in the exporter's names of the sides; runtimes infer them anew
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, card.entries())
    model.producer_name, model.producer_version = "seg", card.seg_version
    graph.name = card.network
    onnx.save_model(model, path)


def need(*modules: str) -> None:
    """Refuse to go on without packages of the extra `export`.

    Raises:
        ImportError: naming what is missing and how to get it.

    """
    from importlib.util import find_spec

    for module in modules:
        if find_spec(module) is None:
            raise ImportError(f'{module} is not installed; get it with pip install "lightning-seg[export]"')
