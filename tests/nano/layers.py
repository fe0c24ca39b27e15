"""What the networks of the two small encoders are built of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels of [B, C, T] (https://arxiv.org/abs/1910.07467).

    It looks at one frame alone, so a code stays local and knows nothing of the recording's gain.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, C, T]"""
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-5) * self.scale


class Block(nn.Module):
    """A residual pair of convolutions, one over time and one over channels."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.over_time = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.over_channels = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C, T] -> [B, C, T]; `mask` [B, 1, T] hides what lies past a recording's end."""
        return x + self.over_channels(F.silu(self.over_time(masked(self.norm(x), mask))))


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """[B, C, T] with zeros where the mask is; all of it without a mask."""
    return x if mask is None else x * mask


def frame_mask(frames: Tensor, count: int) -> Tensor:
    """1 for the first `frames` [B] of `count`, 0 for the rest. [B, 1, count]"""
    return (torch.arange(count, device=frames.device) < frames[:, None])[:, None].float()
