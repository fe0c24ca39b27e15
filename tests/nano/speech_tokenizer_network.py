"""Nano's speech tokenizer: log-mels in, six ternary digits a code out; in torch and in ONNX.

Finite scalar quantisation (F. Mentzer et al., https://arxiv.org/abs/2309.15505) of a small local
network.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.nano.layers import Block, ChannelNorm, frame_mask, masked
from tests.nano.log_mels import FRAME_SAMPLES, MELS, log_mels
from tests.nano.sizes import ACTIVE_DIGITS, CODE_LEVELS

CODE_FRAMES = 4
CODE_SAMPLES = CODE_FRAMES * FRAME_SAMPLES

_WIDTH, _BLOCKS = 224, 5  # each block sees one code, 40 ms, further to either side: ±0.23 s in all


def hear(samples: Tensor, lengths: Tensor, tilt: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What the tokenizer reads of recordings: `log_mels` of them as they are.

    [B, N] and [B] samples, [B, 128, 1] added to log10 of power -> [B, 128, T] and frames [B]
    """
    return log_mels(samples, lengths, padding=0, tilt=tilt)


class SpeechTokenizer(nn.Module):
    """Log-mels at 100 Hz to six values a code; 1.25 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(MELS, _WIDTH, 3, stride=2, padding=1)
        self.second = nn.Conv1d(_WIDTH, _WIDTH, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(_WIDTH, 3) for _ in range(_BLOCKS))
        self.norm = ChannelNorm(_WIDTH)
        self.out = nn.Conv1d(_WIDTH, ACTIVE_DIGITS, 1)
        nn.init.normal_(self.out.weight, std=_WIDTH**-0.5)  # all three digits from the first step

    def forward(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """Values before rounding.

        Args:
            mel: [B, 128, T], zero past a recording's end.
            frames: [B] of each recording; None: all have T.

        Returns:
            [B, 6, ⌈T / 4⌉] in -1 … 1
        """
        count = mel.shape[2]
        at_50_hz = None if frames is None else frame_mask((frames + 1) // 2, (count + 1) // 2)
        at_25_hz = None if frames is None else frame_mask((frames + 3) // 4, (count + 3) // 4)
        x = masked(F.silu(self.first(mel)), at_50_hz)
        x = F.silu(self.second(x))
        for block in self.blocks:
            x = block(x, at_25_hz)
        return torch.tanh(self.out(self.norm(x)))


def rounded(values: Tensor) -> Tensor:
    """-1, 0 or 1 for each value; the gradient passes as if nothing was rounded."""
    return values + (values.round() - values).detach()


def indices_of(values: Tensor) -> Tensor:
    """Codes of values [B, 6, n]: the digits of a number in base 3, lowest first. [B, n] int32"""
    powers = CODE_LEVELS ** torch.arange(ACTIVE_DIGITS, device=values.device, dtype=torch.float32)
    return ((values.float().round() + 1) * powers[:, None]).sum(1).to(torch.int32)


def code_counts(samples: np.ndarray) -> np.ndarray:
    """Codes of recordings of so many samples."""
    return -(-(samples // FRAME_SAMPLES) // CODE_FRAMES)


def load(path: Path) -> SpeechTokenizer:
    """The tokenizer that was trained, on the CPU."""
    tokenizer = SpeechTokenizer()
    tokenizer.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return tokenizer.eval()


class _Published(nn.Module):
    """The published model's inputs and output around the tokenizer."""

    def __init__(self, tokenizer: SpeechTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, feats: Tensor, feats_length: Tensor) -> Tensor:
        """[1, 128, T], [1] int32 -> [1, ⌈T / 4⌉] int32"""
        return indices_of(self.tokenizer(feats[:, :, : feats_length.long()[0]]))


def export(state_path: Path, onnx_path: Path) -> None:
    """Write the trained tokenizer as `speech_tokenizer_v2_25hz.onnx`."""
    from tests.nano.onnx_export import export_onnx  # the training machine may lack onnx

    example = {
        "feats": torch.zeros(1, MELS, 101),
        "feats_length": torch.tensor([101], dtype=torch.int32),
    }
    dynamic = {"feats": {2: "T"}, "indices": {1: "N"}}
    export_onnx(_Published(load(state_path)), example, "indices", dynamic, onnx_path)
