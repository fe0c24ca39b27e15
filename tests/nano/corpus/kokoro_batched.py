"""Kokoro-82M for many sentences at once, in torch: what a GPU needs to be busy.

The weights are those of the ONNX export, out of their 8 bits; the activations are not quantised.
The layers are those of StyleTTS 2 with an iSTFT vocoder. Rows of a batch have lengths of their own,
so that each sentence sounds as it does alone: every layer sees zeros behind a row's end, and the
instance norms and the LSTMs stop there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FRAME_SAMPLES: Final = 600  # a frame of a phoneme's duration: 25 ms at 24 kHz
_RATE_HZ: Final = 24_000
_FRAMES_MULTIPLE: Final = 32  # lengths that batches are padded to: cuDNN plans for each of them
_ALBERT: Final = "encoder.bert.encoder.albert_layer_groups.0.albert_layers.0"
_ALBERT_LAYERS, _HEADS, _HIDDEN = 12, 12, 256  # the last of an LSTM's each way
_STYLE: Final = 128  # of 256: how the decoder sounds; the rest is how the predictor speaks
_FFT, _HOP = 20, 5
_PITCH_SAMPLES: Final = 300  # of one value of the pitch
_HARMONICS, _SINE_LEVEL, _VOICED_HZ = 9, 0.1, 10.0
_UPSAMPLED: Final = ((10, 20, 5), (6, 12, 3))  # stride, kernel, padding
_KERNELS, _DILATIONS = (3, 7, 11), (1, 3, 5)
_NOISE_KERNELS: Final = (7, 11)
_NOISE_CONVOLUTIONS: Final = ((6, 3), (1, 0))  # stride, padding


@dataclass(frozen=True, slots=True)
class _Rows:
    """Which places of a batch hold a row. Times `scale`, plus `more` at its end."""

    lengths: Tensor  # [B]
    width: int

    def mask(self, scale: int = 1, more: int = 0) -> Tensor:
        """[B, 1, width · scale + more] of 1 and 0."""
        place = torch.arange(self.width * scale + more, device=self.lengths.device)
        return (place < self.lengths[:, None] * scale + more)[:, None].float()


class KokoroBatched:
    """The model on a device."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._weights = {name: w.to(device) for name, w in onnx_weights(path).items()}
        self._device = device
        self._lstms = {
            name.removesuffix(".kernel"): self._lstm_of(name.removesuffix(".kernel"))
            for name in self._weights
            if name.endswith(".kernel")
        }

    @torch.inference_mode()
    def speak(
        self,
        ids: Sequence[Sequence[int]],
        styles: np.ndarray,
        speeds: Sequence[float],
        rhythms: Sequence[int] | None = None,
    ) -> list[np.ndarray]:
        """Sentences, each as [N] float32 at 24 kHz.

        Args:
            ids: phonemes of each, without the zeros at either end.
            styles: [B, 256].
            speeds: of each; 1 is the voice's own.
            rhythms: of each the row, with the same phonemes, as whose they last; None: their own.
        """
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))  # as LSTMs want them
        tokens = [torch.tensor([0, *ids[row], 0]) for row in order]
        lengths = torch.tensor([len(row) for row in tokens])
        padded = nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(self._device)
        style = torch.from_numpy(np.ascontiguousarray(styles[order], np.float32)).to(self._device)
        speed = torch.tensor([speeds[row] for row in order], device=self._device)
        at = torch.tensor([order.index(rhythms[row]) for row in order]) if rhythms else None
        samples, counts = self._speech(padded, lengths, style, speed, at)
        spoken = samples.cpu().numpy()
        made = {
            row: sentence[:count]
            for row, sentence, count in zip(order, spoken, counts, strict=True)
        }
        return [made[row] for row in range(len(ids))]

    def _speech(
        self, tokens: Tensor, lengths: Tensor, style: Tensor, speed: Tensor, rhythm: Tensor | None
    ) -> tuple[Tensor, list[int]]:
        rows = _Rows(lengths.to(self._device), tokens.shape[1])
        sound, manner = style[:, :_STYLE], style[:, _STYLE:]
        read = self._linear("encoder.bert_encoder", self._albert(tokens, rows))  # [B, L, 512]
        spread = manner[:, None].expand(-1, tokens.shape[1], -1)
        x = torch.cat([read, spread], 2)
        for number in (0, 2, 4):
            x = self._lstm(f"encoder.predictor.text_encoder.lstms.{number}", x, lengths)
            scale, shift = self._style(
                f"encoder.predictor.text_encoder.lstms.{number + 1}", manner
            ).chunk(2, 1)
            x = F.layer_norm(x, x.shape[-1:], eps=1e-5) * (1 + scale[:, None]) + shift[:, None]
            x = torch.cat([x, spread], 2) * rows.mask().transpose(1, 2)
        lasting = self._lstm("encoder.predictor.lstm", x, lengths)
        lasting = self._linear("encoder.predictor.duration_proj.linear_layer", lasting)
        durations = (lasting.sigmoid().sum(-1) / speed[:, None]).round().clamp(min=1)
        durations = durations * rows.mask()[:, 0]
        if rhythm is not None:
            durations = durations[rhythm.to(self._device)]
        counts = durations.sum(1).long().cpu()
        width = -(-int(counts.max()) // _FRAMES_MULTIPLE) * _FRAMES_MULTIPLE
        frames = _Rows(counts.to(self._device), width)
        aligned = _alignment(durations, width)  # [B, L, T]
        said = self._text(tokens, rows, lengths).transpose(1, 2) @ aligned  # [B, 512, T]
        pitch, loudness = self._curves((x.transpose(1, 2) @ aligned), frames, manner, counts)
        samples = self._decode(said, pitch, loudness, frames, sound)
        return samples, (counts * FRAME_SAMPLES).tolist()

    def _albert(self, tokens: Tensor, rows: _Rows) -> Tensor:
        w, name = self._weights, "encoder.bert.embeddings"
        x = w[f"{name}.word_embeddings"][tokens] + w[f"{name}.token_type_embeddings"][0]
        x = self._norm(f"{name}.LayerNorm", x + w[f"{name}.position_embeddings"][: x.shape[1]])
        x = self._linear("encoder.bert.encoder.embedding_hidden_mapping_in", x)
        seen = rows.mask()[:, None].bool()  # [B, 1, 1, L]
        for _ in range(_ALBERT_LAYERS):
            q, k, v = (
                self._linear(f"{_ALBERT}.attention.{part}", x).unflatten(2, (_HEADS, -1))
                for part in ("query", "key", "value")
            )
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            heard = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            heard = self._linear(f"{_ALBERT}.attention.dense", heard.transpose(1, 2).flatten(2))
            x = self._norm(f"{_ALBERT}.attention.LayerNorm", x + heard)
            inner = F.gelu(self._linear(f"{_ALBERT}.ffn", x), approximate="tanh")
            inner = self._linear(f"{_ALBERT}.ffn_output", inner)
            x = self._norm(f"{_ALBERT}.full_layer_layer_norm", x + inner)
        return x

    def _text(self, tokens: Tensor, rows: _Rows, lengths: Tensor) -> Tensor:
        mask = rows.mask()
        x = self._weights["encoder.text_encoder.embedding"][tokens].transpose(1, 2) * mask
        for number in range(3):
            name = f"encoder.text_encoder.cnn.{number}"
            x = self._convolved(f"{name}.0", x, padding=2).transpose(1, 2)
            gain, bias = self._weights[f"{name}.1.gamma"], self._weights[f"{name}.1.beta"]
            x = F.layer_norm(x, x.shape[-1:], gain, bias, 1e-5).transpose(1, 2)
            x = F.leaky_relu(x, 0.2) * mask
        return self._lstm("encoder.text_encoder.lstm", x.transpose(1, 2), lengths)

    def _curves(
        self, x: Tensor, frames: _Rows, style: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The pitch in hertz and the loudness, two values a frame: [B, 1, 2 T] each."""
        shared = self._lstm("encoder.shared", x.transpose(1, 2), counts).transpose(1, 2)
        curves = []
        for name in ("F0", "N"):
            y = self._block(f"encoder.{name}.0", shared, frames, 1, style)
            y = self._block(f"encoder.{name}.1", y, frames, 1, style, doubled=True)
            y = self._block(f"encoder.{name}.2", y, frames, 2, style)
            curves.append(self._convolved(f"encoder.{name}_proj", y) * frames.mask(2))
        return curves[0], curves[1]

    def _decode(
        self, said: Tensor, pitch: Tensor, loudness: Tensor, frames: _Rows, style: Tensor
    ) -> Tensor:
        mask = frames.mask()
        name = "decoder.decoder"
        curves = [
            self._convolved(f"{name}.{part}_conv", curve, stride=2, padding=1) * mask
            for part, curve in (("F0", pitch), ("N", loudness))
        ]
        x = self._block(f"{name}.encode", torch.cat([said, *curves], 1), frames, 1, style)
        rest = [self._convolved(f"{name}.asr_res.0", said) * mask, *curves]
        for number in range(4):
            x = self._block(
                f"{name}.decode.{number}", torch.cat([x, *rest], 1), frames, 1, style,
                doubled=number == 3,
            )  # fmt: skip
        return self._generate(x, pitch, frames, style)

    def _generate(self, x: Tensor, pitch: Tensor, frames: _Rows, style: Tensor) -> Tensor:
        name = "decoder.decoder.generator"
        source = self._source(pitch)  # [B, 22, 120 T + 1]
        scale = 2
        for stage, (stride, _, padding) in enumerate(_UPSAMPLED):
            scale *= stride
            last = stage == len(_UPSAMPLED) - 1
            mask = frames.mask(scale, int(last))
            step, edge = _NOISE_CONVOLUTIONS[stage]
            noise = self._convolved(f"{name}.noise_convs.{stage}", source, step, edge) * mask
            kernel = _NOISE_KERNELS[stage]
            noise = self._residual(f"{name}.noise_res.{stage}", noise, mask, style, kernel)
            weight = self._weights[f"{name}.ups.{stage}"]
            bias = self._weights[f"{name}.ups.{stage}.bias"]
            x = F.conv_transpose1d(F.leaky_relu(x, 0.1), weight, bias, stride, padding)
            if last:
                x = F.pad(x, (1, 0), mode="reflect")
            x = (x + noise) * mask
            blocks = [
                self._residual(f"{name}.resblocks.{3 * stage + i}", x, mask, style, kernel)
                for i, kernel in enumerate(_KERNELS)
            ]
            x = (blocks[0] + blocks[1] + blocks[2]) / 3
        x = self._convolved(f"{name}.conv_post", F.leaky_relu(x, 0.01), padding=3)
        half = _FFT // 2 + 1
        loud, phase = x[:, :half].clamp(max=20).exp(), x[:, half:].sin()
        spectrum = torch.cat([loud * phase.cos(), loud * phase.sin()], 1) * mask
        basis = self._weights[f"{name}.stft.istft.stft.inverse_basis"]
        made = F.conv_transpose1d(spectrum, basis, stride=_HOP)[:, 0] * (_FFT / _HOP)
        return made[:, _FFT // 2 : -(_FFT // 2)]

    def _source(self, pitch: Tensor) -> Tensor:
        """The spectra of sines at the pitch: [B, 1, 2 T] → [B, 22, 120 T + 1]."""
        name = "decoder.decoder.generator.m_source.l_linear"
        harmonics = torch.arange(1, _HARMONICS + 1, device=pitch.device)[:, None]
        turns = (pitch * harmonics / _RATE_HZ).remainder(1).cumsum(2)  # per sample
        angles = F.interpolate(
            turns * (2 * math.pi * _PITCH_SAMPLES), scale_factor=_PITCH_SAMPLES, mode="linear"
        )
        voiced = (pitch > _VOICED_HZ).float().repeat_interleave(_PITCH_SAMPLES, 2)
        sines = (_SINE_LEVEL * angles.sin() * voiced).transpose(1, 2)
        wave = (sines @ self._weights[name] + self._weights[f"{name}.bias"]).tanh()[..., 0]
        wave = F.pad(wave[:, None], (_FFT // 2, _FFT // 2), mode="reflect")[:, 0]
        window = torch.hann_window(_FFT, device=wave.device)
        spectrum = torch.stft(wave, _FFT, _HOP, _FFT, window, center=False, return_complex=True)
        y, x = spectrum.imag, spectrum.real
        angle = torch.atan2(y, x)
        # The export's angle of a negative real number is -π; `atan2` says π.
        angle = torch.where((y == 0) & (x < 0), -math.pi, angle)
        return torch.cat([spectrum.abs(), angle], 1)

    def _block(
        self, name: str, x: Tensor, frames: _Rows, scale: int, style: Tensor, *,
        doubled: bool = False,
    ) -> Tensor:  # fmt: skip
        """A residual block with adaptive norms, at `scale` values a frame; it may double them."""
        before = frames.mask(scale)
        after = frames.mask(2 * scale) if doubled else before
        y = F.leaky_relu(self._adapted(f"{name}.norm1", x, before, style), 0.2) * before
        if doubled:
            y = self._doubled(f"{name}.pool", y) * after
        y = self._convolved(f"{name}.conv1", y, padding=1) * after
        y = F.leaky_relu(self._adapted(f"{name}.norm2", y, after, style), 0.2) * after
        y = self._convolved(f"{name}.conv2", y, padding=1)
        short = x.repeat_interleave(2, 2) if doubled else x
        if f"{name}.conv1x1" in self._weights:
            short = self._convolved(f"{name}.conv1x1", short)
        return (y + short) / math.sqrt(2) * after

    def _doubled(self, name: str, x: Tensor) -> Tensor:
        """A transposed convolution of each channel, three values wide: [B, C, T] → [B, C, 2 T]."""
        before, middle, after = self._weights[name].unbind(2)  # [C, 1] each
        next_one = F.pad(x[..., 1:], (0, 1))
        both = torch.stack([x * middle, x * after + next_one * before], 3).flatten(2)
        return both + self._weights[f"{name}.bias"][:, None]

    def _residual(self, name: str, x: Tensor, mask: Tensor, style: Tensor, kernel: int) -> Tensor:
        """Three dilated pairs of convolutions with snakes between."""
        for number, dilation in enumerate(_DILATIONS):
            y = x
            for part, step in ((1, dilation), (2, 1)):
                y = self._adapted(f"{name}.adain{part}.{number}", y, mask, style)
                alpha = self._weights[f"{name}.alpha{part}.{number}"]
                y = (y + (y * alpha).sin().square() / alpha) * mask
                padding = step * (kernel - 1) // 2
                convolution = f"{name}.convs{part}.{number}"
                y = self._convolved(convolution, y, padding=padding, dilation=step) * mask
            x = x + y
        return x

    def _adapted(self, name: str, x: Tensor, mask: Tensor, style: Tensor) -> Tensor:
        """Each channel's mean and deviation over a row become those of the style."""
        scale, shift = self._style(name, style)[..., None].chunk(2, 1)
        count = mask.sum(2, keepdim=True)
        centred = (x - x.sum(2, keepdim=True) / count) * mask  # x is 0 behind its end
        deviation = (centred.square().sum(2, keepdim=True) / count + 1e-5).sqrt()
        return centred * ((1 + scale) / deviation) + shift

    def _style(self, name: str, style: Tensor) -> Tensor:
        return self._linear(f"{name}.fc", style)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self._weights[name] + self._weights[f"{name}.bias"]

    def _norm(self, name: str, x: Tensor) -> Tensor:
        w = self._weights
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    def _convolved(
        self, name: str, x: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> Tensor:
        bias = self._weights.get(f"{name}.bias")
        return F.conv1d(x, self._weights[name], bias, stride, padding, dilation)

    def _lstm(self, name: str, x: Tensor, lengths: Tensor) -> Tensor:
        """[B, L, C] → [B, L, 512], zero behind each row's end."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = self._lstms[name](packed)
        return pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])[0]

    def _lstm_of(self, name: str) -> nn.LSTM:
        """ONNX orders the gates i, o, f, c; torch i, f, g, o."""
        w = self._weights
        kernel, recurrent, bias = (w[f"{name}.{part}"] for part in ("kernel", "recurrent", "both"))
        module = nn.LSTM(kernel.shape[1], _HIDDEN, bidirectional=True, batch_first=True)
        module = module.to(self._device)
        order = torch.cat([torch.arange(_HIDDEN) + gate * _HIDDEN for gate in (0, 2, 3, 1)])
        with torch.no_grad():
            for way, suffix in enumerate(("", "_reverse")):
                inner, outer = bias[way].chunk(2)
                for part, value in (
                    ("weight_ih_l0", kernel[way].T), ("weight_hh_l0", recurrent[way].T),
                    ("bias_ih_l0", inner), ("bias_hh_l0", outer),
                ):  # fmt: skip
                    getattr(module, part + suffix).copy_(value[order.to(value.device)])
        module.flatten_parameters()
        return module


def _alignment(durations: Tensor, width: int) -> Tensor:
    """[B, L] frames of each token → [B, L, T], 1 where a token sounds."""
    ends = durations.cumsum(1)[..., None]
    place = torch.arange(width, device=durations.device)
    return ((place >= ends - durations[..., None]) & (place < ends)).float()


def onnx_weights(path: Path) -> dict[str, Tensor]:
    """The export's weights by the names of their layers, as float32.

    An LSTM has `.kernel`, `.recurrent` and `.both`, its biases, as ONNX lays them out.
    """
    graph = onnx.load(str(path)).graph
    raw = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    found: dict[str, np.ndarray] = {
        name: value for name, value in raw.items() if value.dtype == np.float32 and "::" not in name
    }
    gathered: dict[str, str] = {}
    for node in graph.node:
        name = _layer(node.name)
        if node.op_type in ("ConvInteger", "MatMulInteger"):
            found[name] = _floats(raw, node.input[1], node.input[3])
        elif node.op_type in ("Conv", "ConvTranspose", "MatMul") and node.input[1] in raw:
            found[name] = raw[node.input[1]]
        elif node.op_type == "DynamicQuantizeLSTM":
            for part, index, zero in (("kernel", 1, 9), ("recurrent", 2, 11)):
                scale, point = raw[node.input[zero - 1]], raw[node.input[zero]]
                whole = raw[node.input[index]].astype(np.float32)
                found[f"{name}.{part}"] = (whole - _column(point)) * _column(scale)
            found[f"{name}.both"] = raw[node.input[3]]
        elif node.op_type == "Gather" and node.input[0].endswith(".weight_quantized"):
            gathered[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in gathered:
            table = gathered[node.input[0]]
            found[table.removesuffix(".weight_quantized")] = _floats(raw, table, node.input[2])
    found |= _biases(found)
    return {name: torch.from_numpy(np.array(value)).float() for name, value in found.items()}


def _floats(raw: Mapping[str, np.ndarray], weight: str, zero: str) -> np.ndarray:
    scale = raw[weight.removesuffix("_quantized") + "_scale"]
    return (raw[weight].astype(np.float32) - raw[zero].astype(np.float32)) * scale


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _layer(node: str) -> str:
    """ "/encoder/text_encoder/cnn.0/cnn.0.0/Conv_quant" → "encoder.text_encoder.cnn.0.0"."""
    *parts, _ = node.strip("/").split("/")
    return ".".join(
        part
        for part, after in zip(parts, [*parts[1:], ""], strict=False)
        if not after.startswith(f"{part}.")
    )


def _biases(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the predictor's layers, which the graph runs one level higher."""
    prefix = "encoder.predictor."
    return {
        f"encoder.{name.removeprefix(prefix)}": value
        for name, value in found.items()
        if name.startswith((f"{prefix}F0", f"{prefix}N"))
    }
