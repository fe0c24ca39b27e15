"""Torch modules as small ONNX files: weights that fit into 16 bits take 16 bits."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

_OPSET = 17
_FEW = 64  # values: scalars and axes are not worth a Cast


def export_onnx(
    module: nn.Module,
    example: Mapping[str, Tensor],
    output: str,
    dynamic: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """Write `module` as ONNX.

    Args:
        module: with one output.
        example: its inputs by name, in order.
        output: name of what it returns.
        dynamic: the axes that may have any size, by input or output, with their names.
        path: of the file.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that replaces this one needs onnxscript, which the server does not.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            file,
            dynamo=False,
            opset_version=_OPSET,
            input_names=list(example),
            output_names=[output],
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
        )
    model = onnx.load_from_string(file.getvalue())
    halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def halve_weights(model: onnx.ModelProto) -> None:
    """Store float32 weights as float16, cast back on loading, wherever that loses nothing."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):  # what is too large does not come back, and stays
            half = values.astype(np.float16)
        if values.size < _FEW or not np.array_equal(half.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
