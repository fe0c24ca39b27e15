"""The diffusion transformer that estimates the flow at one timestep.

It has no positional encoding: attention over the history does not care about its order, only
the causal convolutions do. Everything is functional: the history goes in and the new keys and
values come out, and the modulation by the timestep is computed apart from the blocks, so that
it can be folded into constants.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.token2wav.functional.flow_config import DiTConfig
from deployments.token2wav.functional.padding import take_last

_CONV_KERNEL = 3
CONV_PAST = _CONV_KERNEL - 1  # frames that each causal convolution remembers
_TIME_FREQUENCIES = 256
_TIME_SCALE = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Modulation:
    """What the timesteps contribute, for S timesteps."""

    blocks: Tensor  # [S, depth, 9, C]: shift, scale, gate of attention, mlp, convolution
    final: Tensor  # [S, 2, C]: shift, scale before the output


class DiTAttention(nn.Module):
    """Multi-head attention with normalised queries and keys."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        inner = config.num_heads * config.head_dim
        self.to_q = nn.Linear(config.hidden_size, inner)
        self.to_k = nn.Linear(config.hidden_size, inner)
        self.to_v = nn.Linear(config.hidden_size, inner)
        self.q_norm = nn.LayerNorm(config.head_dim)
        self.k_norm = nn.LayerNorm(config.head_dim)
        self.proj = nn.Linear(inner, config.hidden_size)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def forward(
        self, x: Tensor, past_k: Tensor, past_v: Tensor, visible: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend from the new frames to themselves and to the history.

        Args:
            x: [B, t, C].
            past_k, past_v: [B, heads, T, head_dim].
            visible: [B, 1, 1, t + T] bool, new frames first; None if there is no padding.

        Returns:
            [B, t, C] and the new keys and values, [B, heads, t, head_dim] each.
        """
        q = self.q_norm(self._heads(self.to_q(x)))
        k = self.k_norm(self._heads(self.to_k(x)))
        v = self._heads(self.to_v(x))
        keys, values = torch.cat((k, past_k), dim=2), torch.cat((v, past_v), dim=2)
        out = F.scaled_dot_product_attention(q, keys, values, attn_mask=visible)
        return self.proj(out.transpose(1, 2).flatten(2)), k, v


class DiTFeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class CausalConvBlock(nn.Module):
    """Two causal convolutions with LayerNorm and Mish between them."""

    # Places in the published Sequential; the rest of it holds no weights.
    _FIRST, _NORM, _SECOND = "1", "3", "6"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.ModuleDict(
            {
                self._FIRST: nn.Conv1d(width, width, _CONV_KERNEL),
                self._NORM: nn.LayerNorm(width),
                self._SECOND: nn.Conv1d(width, width, _CONV_KERNEL),
            }
        )

    def forward(self, x: Tensor, past: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[B, t, C], past inputs of both [B, 2C, CONV_PAST], [B] -> [B, t, C], next `past`."""
        past1, past2 = past.chunk(2, dim=1)
        signal1 = torch.cat((past1, x.transpose(1, 2)), dim=2)
        x = self.block[self._FIRST](signal1).transpose(1, 2)
        x = F.mish(self.block[self._NORM](x))
        signal2 = torch.cat((past2, x.transpose(1, 2)), dim=2)
        x = self.block[self._SECOND](signal2).transpose(1, 2)
        ends = lengths + CONV_PAST
        kept = (take_last(signal1, ends, CONV_PAST), take_last(signal2, ends, CONV_PAST))
        return x, torch.cat(kept, dim=1)


class DiTBlock(nn.Module):
    """Attention, convolution and feed-forward, each shifted, scaled and gated by the timestep."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.attn = DiTAttention(config)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.mlp = DiTFeedForward(width, int(width * config.mlp_ratio))
        self.norm3 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.conv = CausalConvBlock(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 9 * width))

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        conv_past: Tensor,
        past_k: Tensor,
        past_v: Tensor,
        lengths: Tensor,
        visible: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B, t, C] modulated by [9, C] -> [B, t, C], next `conv_past`, new keys, new values."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m, shift_c, scale_c, gate_c = modulation
        attended, k, v = self.attn(
            _modulate(self.norm1(x), shift_a, scale_a), past_k, past_v, visible
        )
        x = x + gate_a * attended
        convolved, conv_past = self.conv(
            _modulate(self.norm3(x), shift_c, scale_c), conv_past, lengths
        )
        x = x + gate_c * convolved
        x = x + gate_m * self.mlp(_modulate(self.norm2(x), shift_m, scale_m))
        return x, conv_past, k, v


class FinalLayer(nn.Module):
    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.norm_final = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(width, out_channels)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = modulation
        return self.linear(_modulate(self.norm_final(x), shift, scale))


class TimestepEmbedder(nn.Module):
    """Sinusoids of 1000 t through a two-layer perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(_TIME_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        """[S] in 0 … 1 -> [S, C]"""
        half = _TIME_FREQUENCIES // 2
        rates = torch.exp(-math.log(1e4) * torch.arange(half) / half).to(t)
        angles = (t * _TIME_SCALE)[:, None] * rates
        return self.mlp(torch.cat((angles.cos(), angles.sin()), dim=-1))


class DiT(nn.Module):
    """`depth` blocks between an input projection and a modulated output."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.t_embedder = TimestepEmbedder(config.hidden_size)
        self.in_proj = nn.Linear(config.in_channels, config.hidden_size)
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(config.hidden_size, config.out_channels)

    def modulation(self, timesteps: Tensor) -> Modulation:
        """All that depends on the timesteps [S] alone."""
        embedded = self.t_embedder(timesteps)
        blocks = [block.adaLN_modulation(embedded).unflatten(1, (9, -1)) for block in self.blocks]
        final = self.final_layer.adaLN_modulation(embedded).unflatten(1, (2, -1))
        return Modulation(torch.stack(blocks, dim=1), final)

    def forward(
        self,
        x: Tensor,
        blocks: Tensor,
        final: Tensor,
        conv_past: Tensor,
        history: Tensor,
        lengths: Tensor,
        visible: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Estimate the flow of the new frames at one timestep.

        Args:
            x: [B, t, 4 * mels] noisy mel, encoder output, speaker, condition.
            blocks, final: one timestep of `Modulation`, [depth, 9, C] and [2, C].
            conv_past: [B, depth, 2C, CONV_PAST].
            history: [B, depth, heads, T, 2 * head_dim] keys and values of earlier frames.
            lengths: [B] valid frames of each row.
            visible: [B, 1, 1, t + T] bool, new frames first; None if nothing is padding.

        Returns:
            [B, t, mels], the next `conv_past`, and the new frames' keys and values
            [B, depth, heads, t, 2 * head_dim].
        """
        x = self.in_proj(x)
        next_conv, new = [], []
        for index, block in enumerate(self.blocks):
            past_k, past_v = history[:, index].chunk(2, dim=-1)
            x, conv, k, v = block(
                x, blocks[index], conv_past[:, index], past_k, past_v, lengths, visible
            )
            next_conv.append(conv)
            new.append(torch.cat((k, v), dim=-1))
        return self.final_layer(x, final), torch.stack(next_conv, 1), torch.stack(new, 1)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return x * (1 + scale) + shift
