"""Kokoro in batches: the export's weights by name, and rows that do not hear one another."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from tests.nano.corpus import kokoro_batched
from tests.nano.corpus.kokoro_batched import KokoroBatched, onnx_weights

_CPU = torch.device("cpu")
_WIDE = 8  # channels


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> KokoroBatched:
    """With the weights of a residual block, a block that doubles the rate and an LSTM."""
    torch.manual_seed(0)
    weights: dict[str, Tensor] = {}
    for part in ("adain1", "adain2"):
        for number in range(3):
            weights[f"r.{part}.{number}.fc"] = torch.randn(128, 2 * _WIDE)
            weights[f"r.{part}.{number}.fc.bias"] = torch.randn(2 * _WIDE)
    for part in ("1", "2"):
        for number in range(3):
            weights[f"r.alpha{part}.{number}"] = 1 + torch.rand(1, _WIDE, 1)
            weights[f"r.convs{part}.{number}"] = torch.randn(_WIDE, _WIDE, 3)
            weights[f"r.convs{part}.{number}.bias"] = torch.randn(_WIDE)
    for part in ("norm1", "norm2"):
        weights[f"b.{part}.fc"] = torch.randn(128, 2 * _WIDE)
        weights[f"b.{part}.fc.bias"] = torch.randn(2 * _WIDE)
    weights |= {f"b.conv{n}": torch.randn(_WIDE, _WIDE, 3) for n in (1, 2)}
    weights["b.pool"], weights["b.pool.bias"] = torch.randn(_WIDE, 1, 3), torch.randn(_WIDE)
    weights["l.kernel"] = torch.randn(2, _WIDE, 1024) / 4
    weights["l.recurrent"], weights["l.both"] = torch.randn(2, 256, 1024) / 16, torch.randn(2, 2048)
    monkeypatch.setattr(kokoro_batched, "onnx_weights", lambda path: weights)
    return KokoroBatched(Path("none"), _CPU)


def _padded(rows: list[Tensor], width: int) -> Tensor:
    return torch.stack([torch.nn.functional.pad(row, (0, width - row.shape[1])) for row in rows])


def test_a_row_sounds_in_a_batch_as_it_does_alone(model: KokoroBatched) -> None:
    rows = [torch.randn(_WIDE, 20), torch.randn(_WIDE, 13)]
    style = torch.randn(2, 128)
    frames = kokoro_batched._Rows(torch.tensor([20, 13]), 32)
    batch = _padded(rows, 32)
    together = [
        model._residual("r", batch, frames.mask(), style, 3),
        model._block("b", batch, frames, 1, style, doubled=True),
    ]
    for at, row in enumerate(rows):
        count = row.shape[1]
        alone = kokoro_batched._Rows(torch.tensor([count]), count)
        own = style[at : at + 1]
        residual = model._residual("r", row[None], alone.mask(), own, 3)[0]
        block = model._block("b", row[None], alone, 1, own, doubled=True)[0]
        torch.testing.assert_close(together[0][at, :, :count], residual, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together[1][at, :, : 2 * count], block, atol=1e-4, rtol=1e-4)
        assert not together[1][at, :, 2 * count :].any()


def test_a_doubled_row_is_a_transposed_convolution_of_each_channel(model: KokoroBatched) -> None:
    x, weight, bias = (
        torch.randn(2, _WIDE, 7),
        *(model._weights[f"b.pool{s}"] for s in ("", ".bias")),
    )
    wanted = torch.nn.functional.conv_transpose1d(x, weight, bias, 2, 1, 1, groups=_WIDE)
    torch.testing.assert_close(model._doubled("b.pool", x), wanted)


def test_an_lstm_begins_backwards_at_a_rows_own_end(model: KokoroBatched) -> None:
    rows = [torch.randn(_WIDE, 9), torch.randn(_WIDE, 4)]
    batch = _padded(rows, 9).transpose(1, 2)
    together = model._lstm("l", batch, torch.tensor([9, 4]))
    alone = model._lstm("l", rows[1].T[None], torch.tensor([4]))
    torch.testing.assert_close(together[1, :4], alone[0], atol=1e-5, rtol=1e-5)
    assert not together[1, 4:].any()


def test_each_token_sounds_for_its_frames_one_after_the_other() -> None:
    aligned = kokoro_batched._alignment(torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0, 3.0]]), 5)
    assert aligned[0].tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0] * 5]
    assert aligned[1].argmax(0).tolist() == [0, 1, 2, 2, 2]


def test_weights_of_eight_bits_come_out_by_the_names_of_their_layers(tmp_path: Path) -> None:
    whole = np.array([[0, 10, 20], [30, 40, 50]], np.uint8)
    tensors = {
        "w_quantized": whole, "w_scale": np.float32(0.5), "w_zero": np.uint8(10),
        "encoder.predictor.N.0.conv1.bias": np.ones(2, np.float32),
        "onnx::other": np.ones(2, np.float32),
    }  # fmt: skip
    node = helper.make_node(
        "MatMulInteger", ["x", "w_quantized", "z", "w_zero"], ["y"],
        "/encoder/cnn.0/cnn.0.0/MatMul_quant",
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "g", [], [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), str(tmp_path / "m.onnx"))
    weights = onnx_weights(tmp_path / "m.onnx")
    assert weights["encoder.cnn.0.0"].tolist() == [[-5, 0, 5], [10, 15, 20]]
    assert weights["encoder.N.0.conv1.bias"].tolist() == [1, 1]
    assert "onnx::other" not in weights
