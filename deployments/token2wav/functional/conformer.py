"""The conformer encoder: tokens at 25 Hz in, frames at 50 Hz out, in chunks or whole.

Relative positions follow Transformer-XL (https://arxiv.org/abs/1901.02860, section 3.3) in
ESPnet's sign convention. A batch holds rows of different histories and lengths: history is
padded on its left, new input on its right, so that all rows share one set of relative positions.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.token2wav.functional.flow_config import EncoderConfig
from deployments.token2wav.functional.padding import pad_left, take_last

_TABLE_STEP = 1024  # tables of relative positions grow by this many, so that few are kept


@dataclass(frozen=True, slots=True, eq=False)
class EncoderState:
    """What one stream's next chunk needs of the tokens before it; grows with T of them."""

    lookahead: Tensor  # [C, 2], inputs of the lookahead layer's second convolution
    upsample: Tensor  # [C, 2 * stride], inputs of the upsampling convolution
    attention: Tensor  # [num_blocks, heads, T, 2 * head_dim], keys and values, oldest first
    up_attention: Tensor  # [num_up_blocks, heads, stride * T, 2 * head_dim]

    def trimmed(self, first: int, last: int) -> "EncoderState":
        """Of the T tokens the `first` and the `last` ones, if T is more."""
        tokens = self.attention.shape[2]
        if tokens <= first + last:
            return self
        stride = self.up_attention.shape[2] // tokens
        return EncoderState(
            self.lookahead,
            self.upsample,
            _ends(self.attention, first, last),
            _ends(self.up_attention, stride * first, stride * last),
        )


def _ends(history: Tensor, first: int, last: int) -> Tensor:
    return torch.cat((history[:, :, :first], history[:, :, -last:]), dim=2)


@lru_cache(maxsize=16)
def _position_table(half: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Sinusoids of the relative positions half-1 … -(half-1). [2 * half - 1, width]"""
    position = torch.arange(half - 1, -half, -1, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(1e4) / width))
    angles = position * rate
    table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
    return table.to(device=device, dtype=dtype)


def relative_positions(keys: int, queries: int, width: int, like: Tensor) -> Tensor:
    """Encodings of the positions keys-1 … -(queries-1). [keys + queries - 1, width]"""
    half = -(-keys // _TABLE_STEP) * _TABLE_STEP
    table = _position_table(half, width, like.device, like.dtype)
    return table[half - keys : half + queries - 1]


class RelativeAttention(nn.Module):
    """Multi-head attention with learned biases for content (u) and position (v)."""

    def __init__(self, width: int, heads: int, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width, bias=key_bias)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, self.head_dim))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, self.head_dim))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def forward(
        self, x: Tensor, positions: Tensor, history: Tensor, hidden_keys: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Attend from the new frames to the history and to all new ones.

        Args:
            x: [B, t, C] new frames.
            positions: [T + t + t - 1, C] from `relative_positions`.
            history: [B, heads, T, 2 * head_dim] keys and values of earlier frames.
            hidden_keys: [B, 1, 1, T + t] bool, true where a key is padding.

        Returns:
            [B, t, C], and the new frames' keys and values [B, heads, t, 2 * head_dim].
        """
        q, k, v = self._heads(self.linear_q(x)), self._heads(self.linear_k(x)), self.linear_v(x)
        new = torch.cat((k, self._heads(v)), dim=-1)
        keys, values = torch.cat((history, new), dim=2).chunk(2, dim=-1)
        p = self._heads(self.linear_pos(positions)[None])  # [1, heads, keys + t - 1, head_dim]
        by_content = (q + self.pos_bias_u[:, None]) @ keys.transpose(-2, -1)
        by_offset = (q + self.pos_bias_v[:, None]) @ p.transpose(-2, -1)
        scores = (by_content + _align(by_offset, keys.shape[2])) / math.sqrt(self.head_dim)
        if hidden_keys is not None:
            scores = scores.masked_fill(hidden_keys, -math.inf)
        out = (scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2)
        return self.linear_out(out), new


def _align(by_offset: Tensor, keys: int) -> Tensor:
    """Shift row i of [B, heads, t, keys + t - 1] left by t-1-i, and keep `keys` columns.

    Column c of a row stands for the relative position keys-1-c; query i stands at key
    keys-t+i, so key j is at column t-1-i+j: a view with rows one element shorter.
    """
    by_offset = by_offset.contiguous()
    batch, heads, t, columns = by_offset.shape
    strides = (heads * t * columns, t * columns, columns - 1, 1)
    offset = by_offset.storage_offset() + t - 1
    return by_offset.as_strided((batch, heads, t, keys), strides, offset)


class ConformerFeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.w_2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(F.silu(self.w_1(x)))


class ConformerLayer(nn.Module):
    """Attention and feed-forward, each normalised before; no convolution in this model."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.output_size
        self.self_attn = RelativeAttention(width, config.attention_heads, config.key_bias)
        self.feed_forward = ConformerFeedForward(width, config.linear_units)
        self.norm_ff = nn.LayerNorm(width, eps=1e-12)
        self.norm_mha = nn.LayerNorm(width, eps=1e-12)

    def forward(
        self, x: Tensor, positions: Tensor, history: Tensor, hidden_keys: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        attended, new = self.self_attn(self.norm_mha(x), positions, history, hidden_keys)
        x = x + attended
        return x + self.feed_forward(self.norm_ff(x)), new


class LinearEmbedding(nn.Module):
    """Linear and LayerNorm, scaled by the square root of the width."""

    def __init__(self, in_size: int, out_size: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(in_size, out_size), nn.LayerNorm(out_size, eps=1e-5))
        self.scale = math.sqrt(out_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) * self.scale


class LookaheadLayer(nn.Module):
    """A residual pair of convolutions: the first sees `lookahead` tokens ahead, the second back."""

    def __init__(self, channels: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.conv1 = nn.Conv1d(channels, channels, lookahead + 1)
        self.conv2 = nn.Conv1d(channels, channels, 3)

    def forward(self, x: Tensor, past: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[B, t + lookahead, C], [B, C, 2], [B] -> [B, t, C] and the next `past`."""
        ahead = torch.cat((past, F.leaky_relu(self.conv1(x.transpose(1, 2)))), dim=2)
        out = self.conv2(ahead).transpose(1, 2) + x[:, : x.shape[1] - self.lookahead]
        return out, take_last(ahead, lengths + 2, 2)


class UpsampleLayer(nn.Module):
    """Each frame `stride` times, then a causal convolution."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(channels, channels, 2 * stride + 1)

    def forward(self, x: Tensor, past: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[B, t, C], [B, C, 2 * stride], [B] -> [B, stride * t, C] and the next `past`."""
        repeated = x.repeat_interleave(self.stride, dim=1).transpose(1, 2)
        signal = torch.cat((past, repeated), dim=2)
        kept = take_last(signal, lengths * self.stride + 2 * self.stride, 2 * self.stride)
        return self.conv(signal).transpose(1, 2), kept


class UpsampleConformerEncoder(nn.Module):
    """Lookahead, conformer layers, upsampling, more conformer layers."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.output_size
        self.embed = LinearEmbedding(config.input_size, width)
        self.after_norm = nn.LayerNorm(width, eps=1e-5)
        self.pre_lookahead_layer = LookaheadLayer(width, config.pre_lookahead_len)
        self.encoders = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_blocks))
        self.up_layer = UpsampleLayer(width, config.up_stride)
        self.up_embed = LinearEmbedding(width, width)
        self.up_encoders = nn.ModuleList(
            ConformerLayer(config) for _ in range(config.num_up_blocks)
        )

    def empty_state(self) -> EncoderState:
        """The state of a stream that has seen nothing."""
        like = self.after_norm.weight
        width, heads = self.config.output_size, self.config.attention_heads
        pair = 2 * width // heads
        return EncoderState(
            lookahead=like.new_zeros(width, 2),
            upsample=like.new_zeros(width, 2 * self.config.up_stride),
            attention=like.new_zeros(len(self.encoders), heads, 0, pair),
            up_attention=like.new_zeros(len(self.up_encoders), heads, 0, pair),
        )

    def forward(
        self, rows: list[Tensor], last: list[bool], states: list[EncoderState]
    ) -> tuple[Tensor, list[int], list[EncoderState]]:
        """One chunk of every row.

        Args:
            rows: embedded tokens [n_b, input_size] of each row, lookahead included unless last.
            last: whether a row ends here; then zeros stand in for its lookahead.
            states: each row's past.

        Returns:
            [B, stride * t, C] with t the longest row's, each row's number of valid frames in
            it, and the next states.
        """
        ahead, stride = self.config.pre_lookahead_len, self.config.up_stride
        tokens = [len(row) - (0 if end else ahead) for row, end in zip(rows, last, strict=True)]
        longest = max(tokens)
        lengths = torch.tensor(tokens, device=rows[0].device)
        # Zeros come after the embedding: its bias must not reach the end of a last chunk.
        x = torch.stack([F.pad(self.embed(r), (0, 0, 0, longest + ahead - len(r))) for r in rows])
        lookahead = torch.stack([state.lookahead for state in states])
        x, lookahead = self.pre_lookahead_layer(x, lookahead, lengths)
        x, attention = self._blocks(self.encoders, x, tokens, [s.attention for s in states])
        x, upsample = self.up_layer(x, torch.stack([s.upsample for s in states]), lengths)
        frames = [stride * n for n in tokens]
        x = self.up_embed(x)
        x, up_attention = self._blocks(
            self.up_encoders, x, frames, [s.up_attention for s in states]
        )
        parts = zip(lookahead, upsample, attention, up_attention, strict=True)
        return self.after_norm(x), frames, [EncoderState(*part) for part in parts]

    def _blocks(
        self, layers: nn.ModuleList, x: Tensor, lengths: list[int], histories: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        history, known = pad_left(histories, dim=2)  # [B, layers, heads, T, 2 * head_dim]
        new_keys = x.shape[1]
        total = history.shape[3] + new_keys
        positions = relative_positions(total, new_keys, x.shape[2], like=x)
        hidden_keys = None
        if len(set(lengths)) > 1 or len(set(known)) > 1:
            at = torch.arange(total, device=x.device)
            start = torch.tensor([history.shape[3] - n for n in known], device=x.device)[:, None]
            end = torch.tensor([history.shape[3] + n for n in lengths], device=x.device)[:, None]
            hidden_keys = ((at < start) | (at >= end))[:, None, None]
        new = []
        for index, layer in enumerate(layers):
            x, added = layer(x, positions, history[:, index], hidden_keys)
            new.append(added)
        stacked = torch.stack(new, dim=1)  # [B, layers, heads, t, 2 * head_dim]
        kept = [
            torch.cat((past, row[:, :, :n]), dim=2)
            for past, row, n in zip(histories, stacked, lengths, strict=True)
        ]
        return x, kept
