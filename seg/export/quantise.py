"""Static int8: weights of 8 bits a channel, activations of 8 bits with ranges seen on training images."""

import logging
import platform
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seg.export.onnx_file import need, save

if TYPE_CHECKING:
    from seg.export.card import Card

KINDS = ("Conv", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Add", "Mul", "Clip")
"""Operators that run on 8 bits: those with a kernel for them; a conversion around others would only cost time."""


def quantise(source: Path, target: Path, images: Iterable[Tensor], card: "Card", settings: Any = None) -> None:
    """Write an int8 version of an ONNX file, which any ONNX Runtime runs (QDQ form).

    Args:
        source: the file in fp32.
        target: file to write.
        images: (B, N, H, W) of raw pixel values, as the network will see them.
        card: describes what is written.
        settings: arguments of `onnxruntime.quantization.quantize_static` that replace those chosen here.

    Raises:
        ImportError: onnx or onnxruntime is not installed.

    """
    need("onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.contiguous().numpy()}

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".quantise.") as folder, _silent():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        chosen = {
            "quant_format": QuantFormat.QDQ,
            "per_channel": True,
            "activation_type": QuantType.QUInt8,
            "weight_type": QuantType.QInt8,
            "reduce_range": not has_vnni(),
            "calibrate_method": CalibrationMethod.MinMax,
            "op_types_to_quantize": list(KINDS),
            "nodes_to_exclude": in_float(onnx.load_model(prepared)),
            **(settings or {}),
        }
        quantize_static(str(prepared), str(Path(folder) / "int8.onnx"), Images(), **chosen)
        save(onnx.load_model(Path(folder) / "int8.onnx"), target, card)


def in_float(model: Any) -> list[str]:
    """Return the names of nodes that stay in fp32: all that lies behind the last convolution, and it itself.

    Logits of 8 bits would tie, and the convolution to the classes costs next to nothing.
    """
    last = max((index for index, node in enumerate(model.graph.node) if node.op_type == "Conv"), default=0)
    return [node.name for node in model.graph.node[last:]]


def has_vnni() -> bool:
    """Tell whether the CPU adds 8-bit products up in 32 bits; where not, two of them overflow 16 bits.

    Weights then get 7 bits. Where nothing can be found out, 7 bits are taken: they are right everywhere.
    """
    from seg.trainer import cpu_capabilities

    vnni = {"avx512_vnni", "avx_vnni"} & cpu_capabilities()
    return bool(vnni) or platform.machine().lower() in ("aarch64", "arm64")


class _silent:
    """Keep onnxruntime's advice to itself: what it advises has been done."""

    def __enter__(self) -> None:
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        logging.disable(self.level)
