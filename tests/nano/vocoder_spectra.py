"""Spectra of 24 kHz sound in batches, and how far two sounds are apart in them.

The losses are those of R. Yamamoto et al., https://arxiv.org/abs/1910.11480, and of mels.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from deployments.mel import mel_filterbank
from tests.nano import pitch, sizes

_QUIET = 1e-4  # magnitudes below are one silence: -80 dB, where 16 bits still tell them apart
_STFT_SIZES = (256, 512, 1024, 2048)
_MELS = ((1024, 100, 12_000.0), (256, 40, 12_000.0))  # n_fft, bands, Hz: finer in pitch, in time


def voice_mel(samples: Tensor) -> Tensor:
    """`voice_mel_spectrogram` of a batch with its true surroundings in place of reflections.

    [B, 480 T + 1440] -> [B, 80, T]
    """
    return _log_mel(samples, n_fft=1920, hop=480, bands=80, max_hz=8000.0, floor=1e-5)


def spectral_losses(made: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Distances of samples [B, N]: in short-time spectra, fine mels, and the vocoder's own mel."""
    convergence, magnitude = made.new_zeros(()), made.new_zeros(())
    for n_fft in _STFT_SIZES:
        ours, theirs = magnitudes(made, n_fft), magnitudes(true, n_fft)
        convergence = convergence + (theirs - ours).norm() / theirs.norm().clamp(min=_QUIET)
        magnitude = magnitude + F.l1_loss(ours.log(), theirs.log())
    mel = made.new_zeros(())
    for n_fft, bands, max_hz in _MELS:
        ours, theirs = (
            _log_mel(x, n_fft=n_fft, hop=n_fft // 4, bands=bands, max_hz=max_hz, floor=_QUIET)
            for x in (made, true)
        )
        mel = mel + F.l1_loss(ours, theirs)
    edge = pitch.CONTEXT
    reflected = [F.pad(x, (edge, edge), mode="reflect") for x in (made, true)]
    return {
        "convergence": convergence / len(_STFT_SIZES),
        "magnitude": magnitude / len(_STFT_SIZES),
        "mel": mel / len(_MELS),
        "voice_mel": F.l1_loss(voice_mel(reflected[0]), voice_mel(reflected[1])),
    }


def magnitudes(samples: Tensor, n_fft: int) -> Tensor:
    """Short-time spectra of [B, N] in units of the signal's RMS. [B, bins, T]"""
    window = _window(n_fft, samples.device)
    spectrum = torch.stft(samples, n_fft, n_fft // 4, window=window, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1) / (0.375 * n_fft)  # Hann's own power
    return power.clamp(min=_QUIET**2).sqrt()


def _log_mel(
    samples: Tensor, *, n_fft: int, hop: int, bands: int, max_hz: float, floor: float
) -> Tensor:
    """[B, N] -> [B, bands, (N - n_fft) // hop + 1]"""
    window = _window(n_fft, samples.device)
    spectrum = torch.stft(samples, n_fft, hop, window=window, center=False, return_complex=True)
    magnitude = torch.sqrt(torch.view_as_real(spectrum).square().sum(-1) + 1e-9)
    filters = _filters(n_fft, bands, max_hz, samples.device)
    return (filters @ magnitude).clamp(min=floor).log()


@cache  # a copy to the device in every step would make the host wait for it
def _filters(n_fft: int, bands: int, max_hz: float, where: torch.device) -> Tensor:
    return mel_filterbank(sizes.SOUND_RATE_HZ, n_fft, bands, max_hz).to(where)


@cache
def _window(n_fft: int, where: torch.device) -> Tensor:
    return torch.hann_window(n_fft, device=where)
