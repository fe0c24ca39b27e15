"""Small ONNX models with the published inputs and outputs, and random weights.

`speech_tokenizer_v2_25hz.onnx` quantises as the published one does: two convolutions of stride 2,
then eight values rounded to -1, 0 or 1 (finite scalar quantisation, https://arxiv.org/abs/2309.15505),
read as the digits of a number in base 3, which is below 3^8 = 6561.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serve_app.checkpoint.random_values import random_tensor

_OPSET = 17
_IR_VERSION = 8
_MELS, _WIDTH, _DIGITS = 128, 32, 8
_FBANK_BINS, _SPEAKER_DIMS, _SPEAKER_WIDTH = 80, 192, 64


def write_speech_tokenizer(path: Path, seed: int) -> None:
    """feats [1, 128, T] float, feats_length [1] int32 → indices [1, ⌈T / 4⌉] int32 below 6561."""
    weights = {
        "conv1_weight": _random("s3.conv1.weight", (_WIDTH, _MELS, 3), seed, gain=4.0),
        "conv2_weight": _random("s3.conv2.weight", (_DIGITS, _WIDTH, 3), seed, gain=3.0),
        "powers": (3.0 ** np.arange(_DIGITS, dtype=np.float32)).reshape(1, _DIGITS, 1),
        "digit_axis": np.array([1], dtype=np.int64),
        "almost_one": np.array(0.999, dtype=np.float32),
        "one": np.array(1.0, dtype=np.float32),
        "three": np.array([3], dtype=np.int64),
        "four": np.array([4], dtype=np.int64),
        "zero": np.array([0], dtype=np.int64),
    }
    conv: dict[str, Any] = {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}
    nodes = [
        helper.make_node("Conv", ["feats", "conv1_weight"], ["hidden"], **conv),
        helper.make_node("Tanh", ["hidden"], ["states"]),
        helper.make_node("Conv", ["states", "conv2_weight"], ["projected"], **conv),
        helper.make_node("Tanh", ["projected"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "almost_one"], ["inside"]),
        helper.make_node("Round", ["inside"], ["rounded"]),
        helper.make_node("Add", ["rounded", "one"], ["digits"]),
        helper.make_node("Mul", ["digits", "powers"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "digit_axis"], ["codes"], keepdims=0),
        helper.make_node("Cast", ["codes"], ["all_indices"], to=TensorProto.INT32),
        helper.make_node("Cast", ["feats_length"], ["frames"], to=TensorProto.INT64),
        helper.make_node("Add", ["frames", "three"], ["rounded_up"]),
        helper.make_node("Div", ["rounded_up", "four"], ["length"]),
        helper.make_node("Slice", ["all_indices", "zero", "length", "digit_axis"], ["indices"]),
    ]
    inputs = [
        helper.make_tensor_value_info("feats", TensorProto.FLOAT, [1, _MELS, "T"]),
        helper.make_tensor_value_info("feats_length", TensorProto.INT32, [1]),
    ]
    outputs = [helper.make_tensor_value_info("indices", TensorProto.INT32, [1, "N"])]
    _save(path, "speech_tokenizer", nodes, inputs, outputs, weights)


def write_speaker_encoder(path: Path, seed: int) -> None:
    """input [B, T, 80] float (Kaldi fbank, mean removed) → output [B, 192]."""
    weights = {
        "frame_weight": _random("spk.frame", (_SPEAKER_WIDTH, _FBANK_BINS), seed, gain=0.5).T,
        "speaker_weight": _random("spk.out", (_SPEAKER_DIMS, _SPEAKER_WIDTH), seed, gain=1.0).T,
    }
    nodes = [
        helper.make_node("MatMul", ["input", "frame_weight"], ["projected"]),
        # the mean over time of something linear would be zero: the input's mean is removed
        helper.make_node("Relu", ["projected"], ["frames"]),
        helper.make_node("ReduceMean", ["frames"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "speaker_weight"], ["output"]),
    ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["B", "T", _FBANK_BINS])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["B", _SPEAKER_DIMS])]
    _save(path, "speaker_encoder", nodes, inputs, outputs, weights)


def _random(name: str, shape: tuple[int, ...], seed: int, gain: float) -> np.ndarray:
    return random_tensor(name, shape, seed=seed).numpy() * np.float32(gain)


def _save(
    path: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray],
) -> None:
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in weights.items()
    ]
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
