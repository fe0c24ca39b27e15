"""What is done to speech before it is heard: noise, gains and coloured channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.nano.log_mels import MELS

_SNR_DB = (15.0, 60.0)
_GAIN_DB = 8.0
_TILT_DB = 2.0  # standard deviation of the slowest of the equaliser's three waves
_NOISELESS_SHARE = 0.25  # of what is heard: a synthesiser's silence is none of a room's
_CHANNEL_POINTS, _CHANNEL_DB = 6, 6.0


def with_noise(samples: Tensor, lengths: Tensor) -> Tensor:
    """White noise over samples [B, N], each at its own signal-to-noise ratio of 15 to 60 dB."""
    energy = samples.square().sum(1) / lengths
    snr_db = torch.empty_like(energy).uniform_(*_SNR_DB)
    return samples + torch.randn_like(samples) * (energy * 10 ** (-snr_db / 10)).sqrt()[:, None]


def equaliser(count: int, where: torch.device) -> Tensor:
    """Random gains and gentle filters, to be added to log10 of power. [count, 128, 1]"""
    bands = torch.linspace(0, 1, MELS, device=where)
    waves = torch.arange(1, 4, device=where)[:, None]
    shapes = (torch.pi * waves * bands).cos() / waves  # [3, 128]
    gain_db = torch.empty(count, 1, device=where).uniform_(-_GAIN_DB, _GAIN_DB)
    filter_db = _TILT_DB * torch.randn(count, 3, device=where) @ shapes
    return ((gain_db + filter_db) / 10)[..., None]


def roughened(samples: Tensor, lengths: Tensor) -> Tensor:
    """Gains of ±10 dB, and noise between white and pink, 10 to 60 dB below the speech or none.

    Args:
        samples: [A, N], zero past their ends.
        lengths: [A] samples.
    """
    count, width = samples.shape
    on = samples.device
    inside = torch.arange(width, device=on) < lengths[:, None]
    power = samples.square().sum(1) / lengths  # [A]
    spectrum = torch.fft.rfft(torch.randn_like(samples))
    bins = torch.arange(spectrum.shape[1], device=on).clamp(min=1).float()
    pinkness = torch.rand(count, 1, device=on) / 2  # of the amplitude: at most 1/√f
    noise = torch.fft.irfft(spectrum * bins**-pinkness, n=width)
    noise = noise / noise.square().mean(1, keepdim=True).sqrt()
    below_db = 10 + 50 * torch.rand(count, device=on)
    noise_level = (power * 10 ** (-below_db / 10)).sqrt()
    noise_level = noise_level * (torch.rand(count, device=on) >= _NOISELESS_SHARE)
    gain = 10 ** ((torch.rand(count, 1, device=on) - 0.5) * 20 / 20)
    return ((samples + noise * noise_level[:, None]) * gain * inside).clamp(-1.0, 1.0)


def channel(count: int, where: torch.device) -> Tensor:
    """Gains within ±6 dB, straight between six points; for log10 of power. [count, 128, 1]"""
    points = (torch.rand(count, 1, _CHANNEL_POINTS, device=where) - 0.5) * 2
    return F.interpolate(points * _CHANNEL_DB / 10, MELS, mode="linear").transpose(1, 2)
