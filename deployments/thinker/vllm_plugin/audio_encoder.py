"""Speech → embeddings of the language model: a Whisper-like encoder and an adapter.

Plain PyTorch. Submodules carry the names of the published weights (`encoder.*`, `adapter.*`).

A piece of T mel frames counts as T − 2 (its last two come from the padding of the signal). Pieces
are batched by zero padding; every place where padding could leak into a piece's own embeddings is
masked, so that a piece gives the same embeddings alone and in any batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.thinker.vllm_plugin.hf_config import AudioEncoderConfig


class Attention(nn.Module):
    """Full self-attention over a piece, without a bias on the keys."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(n_state, n_state, bias=False)
        self.value = nn.Linear(n_state, n_state)
        self.out = nn.Linear(n_state, n_state)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, C], mask [B, 1, 1, T], true where a key may be seen → [B, T, C]."""
        query, key, value = (
            layer(x).unflatten(-1, (self.n_head, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.attn = Attention(n_state, n_head)
        self.attn_ln = nn.LayerNorm(n_state)
        self.mlp = nn.Sequential(
            nn.Linear(n_state, 4 * n_state), nn.GELU(), nn.Linear(4 * n_state, n_state)
        )
        self.mlp_ln = nn.LayerNorm(n_state)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, C], mask [B, 1, 1, T] → [B, T, C]."""
        x = x + self.attn(self.attn_ln(x), mask)
        return x + self.mlp(self.mlp_ln(x))


class AudioEncoder(nn.Module):
    """Mel frames at 100 Hz → states at 25 Hz."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        state = config.n_audio_state
        self.conv1 = nn.Conv1d(config.n_mels, state, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(state, state, kernel_size=3, stride=2, padding=1)
        self.positional_embedding = nn.Embedding(config.n_audio_ctx, state)
        self.blocks = nn.ModuleList(
            Block(state, config.n_audio_head) for _ in range(config.n_audio_layer)
        )
        self.avg_pooler = nn.AvgPool1d(2, stride=2)
        self.after_norm = nn.LayerNorm(state)

    def forward(self, mels: Tensor, frames: Tensor) -> Tensor:
        """Encode a batch of pieces.

        Args:
            mels: [B, n_mels, T], zero past each piece's end.
            frames: [B] int64, mel frames of each piece, at least 3.

        Returns:
            [B, T // 4, C], zero past each piece's ⌈frames / 2⌉ // 2 states.
        """
        x = F.gelu(self.conv1(mels))
        x = x * _before(frames, x.shape[-1]).unsqueeze(1)  # as `conv2` pads a piece alone
        x = F.gelu(self.conv2(x)).transpose(1, 2)  # [B, ⌈T / 2⌉, C]
        x = x + self.positional_embedding.weight[: x.shape[1]]
        seen = _before((frames - 1) // 2, x.shape[1])[:, None, None, :]
        for block in self.blocks:
            x = block(x, seen)
        x = self.after_norm(self.avg_pooler(x.transpose(1, 2)).transpose(1, 2))
        # A last state may be half inside the piece: the adapter sees it, and zeros after it.
        return x * _before((frames + 1) // 2 // 2, x.shape[1]).unsqueeze(-1)


class Adapter(nn.Module):
    """States at 25 Hz → embeddings of the language model at 12.5 Hz."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        state = config.n_audio_state
        self.conv = nn.Conv1d(
            state, state, config.kernel_size, stride=config.adapter_stride, padding=1
        )
        self.linear1 = nn.Linear(state, config.adapter_state)
        self.relu = nn.ReLU()
        self.linear2 = nn.Linear(config.adapter_state, config.llm_dim)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C] → [B, ⌈T / 2⌉, llm_dim]."""
        x = F.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.linear2(self.relu(self.linear1(x)))


def _before(ends: Tensor, length: int) -> Tensor:
    """[B] → [B, length], true before each row's end."""
    return torch.arange(length, device=ends.device) < ends.unsqueeze(1)
