"""The conformer encoder over resident history: tokens in, the flow's condition `mu` out."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.token2wav.functional.conformer import ConformerLayer
from deployments.token2wav.functional.flow import Flow
from deployments.token2wav.resident.kernels import fused_conformer
from deployments.token2wav.resident.kernels.attention import BLOCK, partial_size
from deployments.token2wav.resident.memory import Take
from deployments.token2wav.resident.step_rows import EncoderRows

_LAYER_EPS = 1e-12
_EMBED_EPS = 1e-5
_MARGIN = 2 * BLOCK  # a tile of keys reads this many distances

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One conformer layer's weights, transposed for `addmm`: [in, out]."""

    qkv: Pair
    biases: Tensor  # [2, C] float32 for content and position
    positions: Tensor  # [n, C] encodings of relative positions
    out: Pair
    norm_mha: Pair
    norm_ff: Pair
    w1: Pair
    w2: Pair


@dataclass(frozen=True, slots=True, eq=False)
class EncoderPool:
    """Every stream's and voice's past, on the GPU."""

    attention: Tensor  # [layers, blocks, heads, 2, BLOCK, D], a place a token
    up_attention: Tensor  # [up layers, blocks, heads, 2, stride * BLOCK, D]
    lookahead: Tensor  # [slots, 2, C]
    upsample: Tensor  # [slots, 2, C]

    @classmethod
    def allocate(
        cls,
        model: "ResidentEncoder",
        *,
        blocks: int,
        slots: int,
        device: torch.device | None = None,
    ) -> "EncoderPool":
        """On the model's device where `device` is None."""
        config = model.config
        width, heads = config.output_size, config.attention_heads
        options = {"dtype": model.dtype, "device": device or model.device}
        head_dim, up = width // heads, config.up_stride * BLOCK
        return cls(
            torch.zeros(config.num_blocks, blocks, heads, 2, BLOCK, head_dim, **options),
            torch.zeros(config.num_up_blocks, blocks, heads, 2, up, head_dim, **options),
            torch.zeros(slots, 2, width, **options),
            torch.zeros(slots, 2, width, **options),
        )


class _LayerBuffers:
    """Where layers of one rate compute. Layers run one after the other and share them."""

    def __init__(self, model: "ResidentEncoder", rows: int, frames: int, take: Take) -> None:
        lines, heads = rows * frames, model.config.attention_heads
        width, hidden, dtype = model.config.output_size, model.config.linear_units, model.dtype
        self.x = take((lines, width), torch.float32)
        self.h = take((lines, width), dtype)
        self.qkv = take((lines, 3 * width), dtype)
        self.attended = take((lines, width), dtype)
        self.update = take((lines, width), dtype)
        self.hidden = take((lines, hidden), dtype)
        size = partial_size(rows, frames, heads, width // heads)
        self.partial = take((size,), torch.float32) if size else None


class EncoderBuffers:
    """Where one shape of a step computes."""

    def __init__(self, model: "ResidentEncoder", rows: int, tokens: int, take: Take) -> None:
        config, lines, dtype = model.config, rows * tokens, model.dtype
        width = config.output_size
        self.tokens = _LayerBuffers(model, rows, tokens, take)
        self.frames = _LayerBuffers(model, rows, tokens * config.up_stride, take)
        self.ahead = take((lines, (config.pre_lookahead_len + 1) * width), dtype)
        self.taps = take((lines, 3 * width), dtype)
        self.raised = take((lines, config.up_stride * width), dtype)


class ResidentEncoder:
    """The encoder's weights and constants on the GPU."""

    def __init__(
        self, flow: Flow, *, longest: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        """`flow` must be float32, and is not kept; `longest` tokens fit a row's attention."""
        model = flow.encoder
        self.config, self.dtype, self.device = model.config, dtype, device
        width, stride = self.config.output_size, self.config.up_stride
        self._scale = math.sqrt(width)
        self._origin = longest + _MARGIN
        self._up_origin = stride * longest + _MARGIN

        def linear(weight: Tensor, bias: Tensor | None) -> Pair:
            if bias is None:
                bias = torch.zeros_like(weight[:, 0])
            return weight.to(device, dtype).contiguous().T, bias.to(device, dtype)

        def convolution(conv: nn.Conv1d) -> Pair:
            return linear(conv.weight.permute(0, 2, 1).flatten(1), conv.bias)

        def exact(module: nn.LayerNorm) -> Pair:
            return module.weight.to(device, torch.float32), module.bias.to(device, torch.float32)

        def layer(of: ConformerLayer, origin: int) -> _Layer:
            attn, ff = of.self_attn, of.feed_forward
            projections = (attn.linear_q, attn.linear_k, attn.linear_v)
            blank = torch.zeros_like(attn.linear_q.bias)
            encodings = _sinusoids(origin, width).to(attn.linear_pos.weight)
            biases = torch.stack((attn.pos_bias_u.flatten(), attn.pos_bias_v.flatten()))
            return _Layer(
                qkv=linear(
                    torch.cat([p.weight for p in projections]),
                    torch.cat([blank if p.bias is None else p.bias for p in projections]),
                ),
                biases=biases.to(device, torch.float32),
                positions=attn.linear_pos(encodings).to(device, dtype).contiguous(),
                out=linear(attn.linear_out.weight, attn.linear_out.bias),
                norm_mha=exact(of.norm_mha),
                norm_ff=exact(of.norm_ff),
                w1=linear(ff.w_1.weight, ff.w_1.bias),
                w2=linear(ff.w_2.weight, ff.w_2.bias),
            )

        with torch.inference_mode():
            # a token's embedding does not depend on its neighbours
            self._embedded = model.embed(flow.input_embedding.weight).to(device, torch.float32)
            ahead = model.pre_lookahead_layer
            self._ahead, self._behind = convolution(ahead.conv1), convolution(ahead.conv2)
            self._layers = [layer(one, self._origin) for one in model.encoders]
            self._up = linear(*_token_rate(model.up_layer.conv, stride))
            self._up_embed = linear(model.up_embed.out[0].weight, model.up_embed.out[0].bias)
            self._up_norm = exact(model.up_embed.out[1])
            self._up_layers = [layer(one, self._up_origin) for one in model.up_encoders]
            self._after = exact(model.after_norm)
            self._project = linear(flow.encoder_proj.weight, flow.encoder_proj.bias)

    @torch.inference_mode()
    def encode(self, b: EncoderBuffers, pool: EncoderPool, rows: EncoderRows, mu: Tensor) -> None:
        """Encode one chunk of every row into `mu` [rows, frames, mels], and keep its past."""
        stride, width = self.config.up_stride, self.config.output_size
        low, high = b.tokens, b.frames
        spans = (rows.lengths, rows.slots)
        fused_conformer.embed(rows.tokens, self._embedded, low.x, b.ahead)
        _multiply(b.ahead, self._ahead, low.update)
        fused_conformer.leaky_taps(low.update, b.taps, pool.lookahead, *spans, stride)
        _multiply(b.taps, self._behind, low.update)
        fused_conformer.sum_norm(low.x, low.update, self._layers[0].norm_mha, low.h, _LAYER_EPS)
        self._run(self._layers, low, pool.attention, rows, self._origin)
        fused_conformer.sum_taps(low.x, low.update, b.taps, pool.upsample, *spans, stride)
        _multiply(b.taps, self._up, b.raised)
        _multiply(b.raised.view(-1, width), self._up_embed, high.update)
        fused_conformer.embed_norm(
            high.update, self._up_norm, self._scale, high.x, self._up_layers[0].norm_mha, high.h
        )
        self._run(self._up_layers, high, pool.up_attention, rows, self._up_origin)
        fused_conformer.sum_norm(high.x, high.update, self._after, high.h, _EMBED_EPS)
        weight, bias = self._project
        torch.addmm(bias, high.h, weight, out=mu.view(-1, mu.shape[-1]))

    def _run(
        self, layers: list[_Layer], b: _LayerBuffers, pool: Tensor, rows: EncoderRows, origin: int
    ) -> None:
        """Layers of one rate, from the first one's norm in `b.h` to the last's `b.update`."""
        stride = self.config.up_stride
        for index, layer in enumerate(layers):
            _multiply(b.h, layer.qkv, b.qkv)
            fused_conformer.attend_relative(
                b.qkv, layer.biases, layer.positions, origin, pool[index],
                rows.table, rows.spans, rows.lengths, b.attended, b.partial,
                frames_per_token=stride,
            )  # fmt: skip
            _multiply(b.attended, layer.out, b.update)
            fused_conformer.sum_norm_keep(
                b.x, b.update, layer.norm_ff, b.h, b.qkv, pool[index],
                rows.lengths, rows.places, frames_per_token=stride, epsilon=_LAYER_EPS,
            )  # fmt: skip
            _multiply(b.h, layer.w1, b.hidden)
            F.silu(b.hidden, inplace=True)
            _multiply(b.hidden, layer.w2, b.update)
            if index + 1 < len(layers):
                fused_conformer.sum_norm(b.x, b.update, layers[index + 1].norm_mha, b.h, _LAYER_EPS)


def _multiply(x: Tensor, layer: Pair, out: Tensor) -> None:
    weight, bias = layer
    torch.addmm(bias, x, weight, out=out)


def _sinusoids(origin: int, width: int) -> Tensor:
    """Encodings of the relative positions -origin … origin. [2 * origin + 1, width]"""
    position = torch.arange(-origin, origin + 1, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(1e4) / width))
    angles = position * rate
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def _token_rate(conv: nn.Conv1d, stride: int) -> Pair:
    """The convolution over frames repeated `stride` times, as one over tokens.

    Frame `p` of a token sees, through 2 * stride + 1 taps, each of at most three tokens several
    times: their taps add up. Returns weight [stride * out, 3 * in] and bias.
    """
    weight = conv.weight  # [out, in, 2 * stride + 1]
    phases = []
    for phase in range(stride):
        of_token = [torch.zeros_like(weight[:, :, 0]) for _ in range(3)]
        for tap in range(2 * stride + 1):
            token = (phase + tap - 2 * stride) // stride + 2
            of_token[token] = of_token[token] + weight[:, :, tap]
        phases.append(torch.cat(of_token, dim=1))
    return torch.cat(phases), conv.bias.repeat(stride)
