"""Silero's network for the frames of several recordings at once, with the weights of its file.

The file's graph takes the frames of one recording, and its convolutions walk over four columns of
one frame at a time. Here each layer is one matrix product over the frames of all recordings, at a
third of the time; the values are the same to 1e-5.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto

# F frames of B recordings, each behind the 64 samples before it. A layer's columns stand in the
# third axis: 4 of a frame, then 2, then 1. Samples are mirrored behind the frame for the last one.
GRAPH = """
<ir_version: 8, opset_import: ["" : 16]>
silero (float[F, B, 576] input, float[1, B, 128] h, float[1, B, 128] c)
    => (float[F, B, 1] speech_probs, float[1, B, 128] hn, float[1, B, 128] cn)
<
    int64[1] columns = {2}, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2},
    int64[1] four = {4}, int64[1] five = {5}, int64[1] six = {6},
    int64[6] mirrored = {0, 0, 0, 0, 0, 64}, int64[4] hops_shape = {0, 0, 5, 128},
    int64[8] around = {0, 0, 1, 0, 0, 0, 1, 0}, int64[8] before = {0, 0, 1, 0, 0, 0, 0, 0},
    int64[3] joined = {0, 0, -1}
>
{
    padded = Pad <mode = "reflect"> (input, mirrored)
    hops = Reshape (padded, hops_shape)
    first_halves = Slice (hops, zero, four, columns)
    second_halves = Slice (hops, one, five, columns)
    windows = Concat <axis = 3> (first_halves, second_halves)
    spectrum = MatMul (windows, stft)
    real, imaginary = Split <axis = 3> (spectrum)
    real_power = Mul (real, real)
    imaginary_power = Mul (imaginary, imaginary)
    power = Add (real_power, imaginary_power)
    magnitude = Sqrt (power)

    magnitude_around = Pad (magnitude, around)
    left_0 = Slice (magnitude_around, zero, four, columns)
    right_0 = Slice (magnitude_around, two, six, columns)
    taps_0 = Concat <axis = 3> (left_0, magnitude, right_0)
    sum_0 = MatMul (taps_0, weight_0)
    shifted_0 = Add (sum_0, bias_0)
    out_0 = Relu (shifted_0)

    out_0_around = Pad (out_0, before)
    left_1 = Slice (out_0_around, zero, four, columns, two)
    middle_1 = Slice (out_0_around, one, five, columns, two)
    right_1 = Slice (out_0_around, two, six, columns, two)
    taps_1 = Concat <axis = 3> (left_1, middle_1, right_1)
    sum_1 = MatMul (taps_1, weight_1)
    shifted_1 = Add (sum_1, bias_1)
    out_1 = Relu (shifted_1)

    taps_2 = Reshape (out_1, joined)
    sum_2 = MatMul (taps_2, weight_2)
    shifted_2 = Add (sum_2, bias_2)
    out_2 = Relu (shifted_2)

    sum_3 = MatMul (out_2, weight_3)
    shifted_3 = Add (sum_3, bias_3)
    out_3 = Relu (shifted_3)

    recurrent, hn, cn = LSTM <hidden_size = 128> (out_3, lstm_w, lstm_r, lstm_b, , h, c)
    recurrent_flat = Squeeze (recurrent, one)
    activated = Relu (recurrent_flat)
    score = MatMul (activated, weight_out)
    shifted_score = Add (score, bias_out)
    speech_probs = Sigmoid (shifted_score)
}
"""


def over_recordings(path: Path) -> bytes:
    """The model of silero's file, for frames of several recordings: see `GRAPH` for its shapes."""
    import onnx  # here, so that a server which needs no voice activity never loads it

    model = onnx.parser.parse_model(GRAPH)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        for name, value in _weights(onnx.load(path)).items()
    )
    return model.SerializeToString()


def _weights(model: "ModelProto") -> dict[str, np.ndarray]:
    """The file's, as `GRAPH` names and lays them out."""
    from onnx import numpy_helper

    of_file = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    lstm = next(node for node in model.graph.node if node.op_type == "LSTM")
    found = {f"lstm_{part}": of_file[lstm.input[i]] for part, i in (("w", 1), ("r", 2), ("b", 3))}
    found |= {f"bias_{layer}": of_file[f"encoder.{layer}.bias"] for layer in range(4)}
    # Around one column there is nothing on either side, and before two nothing on the left.
    for layer, taps in enumerate((slice(0, 3), slice(0, 3), slice(1, 3), slice(1, 2))):
        found[f"weight_{layer}"] = _by_tap(of_file[f"encoder.{layer}.weight"][:, :, taps])
    found["stft"] = _by_tap(of_file["stft.forward_basis_buffer"])
    found["weight_out"], found["bias_out"] = (
        _by_tap(of_file["output.weight"]),
        of_file["output.bias"],
    )
    return found


def _by_tap(weight: np.ndarray) -> np.ndarray:
    """A convolution's [out, in, taps] -> [taps * in, out]."""
    return weight.transpose(2, 1, 0).reshape(-1, len(weight))
