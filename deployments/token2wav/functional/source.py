"""The vocoder's excitation: a sine and its harmonics where there is pitch, noise elsewhere.

Neural source-filter (https://arxiv.org/abs/1904.12088). The official package draws its noise
anew in every call. Here it is one fixed recording, read at the stream's own position, so that a
stream sounds the same whatever it is batched with, and its noise is that of a whole synthesis.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE_HZ = 24_000
SINE_AMPLITUDE = 0.1
NOISE_AMPLITUDE = 0.003  # beside a voiced sine; unvoiced noise is a third of a sine's amplitude
VOICED_ABOVE_HZ = 10.0
NOISE_SAMPLES = 1 << 19  # 21.8 s; then it repeats, which is inaudible in noise


class SourceNoise:
    """Gaussian noise of the harmonics, fixed by a seed and indexed by position in a stream."""

    def __init__(self, harmonics: int, *, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((NOISE_SAMPLES, harmonics), generator=generator)
        self._noise = noise.to(device)

    def at(self, position: int, samples: int) -> Tensor:
        """Noise of the samples `position` … `position + samples`. [samples, harmonics]"""
        start = position % NOISE_SAMPLES
        if start + samples <= NOISE_SAMPLES:
            return self._noise[start : start + samples]
        index = torch.arange(position, position + samples, device=self._noise.device)
        return self._noise[index % NOISE_SAMPLES]


class HarmonicSource(nn.Module):
    """Mixes a fundamental and its overtones into one excitation signal."""

    def __init__(self, harmonics: int, samples_per_frame: int) -> None:
        super().__init__()
        self.harmonics = harmonics
        self.samples_per_frame = samples_per_frame
        self.l_linear = nn.Linear(harmonics, 1)

    def forward(self, f0: Tensor, noise: Tensor) -> Tensor:
        """Excite.

        Args:
            f0: [B, T] fundamental frequency of each frame, in Hz.
            noise: [B, T * samples_per_frame, harmonics] standard Gaussian.

        Returns:
            [B, 1, T * samples_per_frame]
        """
        pitch = f0.repeat_interleave(self.samples_per_frame, dim=1)[..., None]  # [B, N, 1]
        voiced = (pitch > VOICED_ABOVE_HZ).to(pitch.dtype)
        amplitude = voiced * NOISE_AMPLITUDE + (1 - voiced) * SINE_AMPLITUDE / 3
        sines = self._sines(pitch) * SINE_AMPLITUDE * voiced + amplitude * noise
        return torch.tanh(self.l_linear(sines)).transpose(1, 2)

    def _sines(self, pitch: Tensor) -> Tensor:
        """[B, N, 1] in Hz -> [B, N, harmonics], the phase summed up over frames.

        The official one adds random initial phases to the first sample, which its resampling
        to frames then never reads; so there are none here. The order of operations is kept:
        the phase grows to thousands of turns, where float32 rounding can be heard.
        """
        multiples = torch.arange(1, self.harmonics + 1, device=pitch.device, dtype=pitch.dtype)
        turns = ((pitch * multiples) / SAMPLE_RATE_HZ % 1).transpose(1, 2)  # per sample
        scale = self.samples_per_frame
        per_frame = F.interpolate(turns, scale_factor=1 / scale, mode="linear")
        phase = torch.cumsum(per_frame, dim=2) * 2 * math.pi
        phase = F.interpolate(phase * scale, scale_factor=scale, mode="linear")
        return phase.sin().transpose(1, 2)
