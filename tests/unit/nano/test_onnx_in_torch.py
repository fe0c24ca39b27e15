"""A quantised ONNX graph gives in torch what ONNX Runtime gives."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from tests.nano.corpus.onnx_in_torch import OnnxModel, convolved, unconvolved

_RNG = np.random.default_rng(0)


def _quantised() -> onnx.ModelProto:
    """x [1, 4, T] → a convolution in 8 bits with a bias, a leaky ReLU, its mean over time."""
    weight = _RNG.integers(0, 256, (6, 4, 3)).astype(np.uint8)
    constants = {
        "weight": weight,
        "zero": np.array(128, np.uint8),
        "scale": np.array(0.02, np.float32),
        "bias": _RNG.normal(size=(1, 6, 1)).astype(np.float32),
        "axes": np.array([2]),
        "shape": np.array([0, -1]),
    }
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "q_scale", "q_zero"]),
        helper.make_node("ConvInteger", ["q", "weight", "q_zero", "zero"], ["sums"],
                         kernel_shape=[3], pads=[1, 1], strides=[1], dilations=[1], group=1),
        helper.make_node("Mul", ["q_scale", "scale"], ["both"]),
        helper.make_node("Div", ["bias", "both"], ["bias_steps"]),
        helper.make_node("Floor", ["bias_steps"], ["bias_floor"]),
        helper.make_node("Cast", ["bias_floor"], ["bias_int"], to=TensorProto.INT32),
        helper.make_node("Add", ["sums", "bias_int"], ["biased"]),
        helper.make_node("Cast", ["biased"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "both"], ["scaled"]),
        helper.make_node("LeakyRelu", ["scaled"], ["active"], alpha=0.2),
        helper.make_node("ReduceMean", ["active", "axes"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["active", "mean"], ["centred"]),
        helper.make_node("Reshape", ["centred", "shape"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, "T"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "N"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_a_quantised_convolution_is_what_onnx_runtime_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "quantised.onnx"
    onnx.save(_quantised(), str(path))
    x = _RNG.normal(size=(1, 4, 50)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]
    (made,) = OnnxModel(path, torch.device("cpu")).run({"x": x})
    # ONNX Runtime rounds what goes in to 8 bits, torch does not.
    assert np.abs(made.numpy() - wanted).max() < 0.05 * wanted.std()


def test_a_model_runs_again_with_another_length(tmp_path: Path) -> None:
    path = tmp_path / "quantised.onnx"
    onnx.save(_quantised(), str(path))
    model = OnnxModel(path, torch.device("cpu"))
    for length in (20, 31):
        x = _RNG.normal(size=(1, 4, length)).astype(np.float32)
        assert model.run({"x": x})[0].shape == (1, 6 * length)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(1, 1, 0, 1), (3, 2, 1, 1), (7, 1, 9, 3)]
)
def test_a_convolution_as_a_product_is_a_convolution(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 4, 41), torch.randn(6, 4, kernel), torch.randn(6)
    wanted = F.conv1d(x, weight, bias, stride, padding, dilation)
    torch.testing.assert_close(convolved(x, weight, bias, stride, padding, dilation), wanted)


@pytest.mark.parametrize(("kernel", "stride", "padding", "more"), [(20, 10, 5, 0), (3, 2, 1, 1)])
def test_a_transposed_convolution_as_a_product_is_one(
    kernel: int, stride: int, padding: int, more: int
) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 4, 13), torch.randn(4, 6, kernel), torch.randn(6)
    wanted = F.conv_transpose1d(x, weight, bias, stride, padding, more)
    torch.testing.assert_close(unconvolved(x, weight, bias, stride, padding, more), wanted)
