"""Log-mel spectrograms of both stages: two recipes on one filterbank.

The 16 kHz recipe (Whisper's) feeds the Thinker's audio encoder and the S3 speech tokenizer, the
24 kHz one describes a voice to the flow model.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

# Slaney's mel scale: linear below 1 kHz, logarithmic above (M. Slaney, Auditory Toolbox, 1998).
_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27

_SPEECH_RATE_HZ, _SPEECH_N_FFT, _SPEECH_HOP = 16_000, 400, 160
_VOICE_RATE_HZ, _VOICE_N_FFT, _VOICE_HOP = 24_000, 1920, 480
_VOICE_MELS, _VOICE_MAX_HZ = 80, 8000.0


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _HZ_PER_MEL
    return float(_LOG_START_MEL + np.log(hz / _LOG_START_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    linear = mel * _HZ_PER_MEL
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return np.where(mel < _LOG_START_MEL, linear, logarithmic)


@lru_cache(maxsize=8)
def mel_filterbank(rate_hz: int, n_fft: int, n_mels: int, max_hz: float) -> torch.Tensor:
    """Triangular filters on Slaney's scale, each of unit area, from 0 Hz to `max_hz`.

    Returns:
        [n_mels, n_fft // 2 + 1] float32, equal to `librosa.filters.mel`. Shared: never write to it.
    """
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / rate_hz)
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(max_hz), n_mels + 2))
    widths = np.diff(edges_hz)
    distance = edges_hz[:, None] - bins_hz[None, :]  # [n_mels + 2, bins]
    rising = -distance[:-2] / widths[:-1, None]
    falling = distance[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return torch.from_numpy((triangles * area[:, None]).astype(np.float32))


def log_mel_spectrogram(
    samples: torch.Tensor, *, n_mels: int = 128, padding: int = 0
) -> torch.Tensor:
    """Whisper's log-mel spectrogram of 16 kHz speech.

    n_fft 400, hop 160, Hann, centred with reflection, the last frame dropped, power, log10
    clamped at 1e-10, floored 8 below the loudest value, then (x + 4) / 4.

    Args:
        samples: [N] float32 at 16 kHz, more than 200 of them (half a window is reflected).
        n_mels: number of mel bands.
        padding: zeros put after the samples; the Thinker's encoder wants 479, the S3 tokenizer 0.

    Returns:
        [n_mels, (N + padding) // 160] float32.
    """
    if padding:
        samples = F.pad(samples, (0, padding))
    window = torch.hann_window(_SPEECH_N_FFT, device=samples.device)
    spectrum = torch.stft(samples, _SPEECH_N_FFT, _SPEECH_HOP, window=window, return_complex=True)
    power = spectrum[:, :-1].abs() ** 2  # [201, T]
    filters = mel_filterbank(_SPEECH_RATE_HZ, _SPEECH_N_FFT, n_mels, _SPEECH_RATE_HZ / 2)
    log_mel = (filters.to(samples.device) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0


def voice_mel_spectrogram(samples: torch.Tensor) -> torch.Tensor:
    """The flow model's mel spectrogram of a 24 kHz voice recording, 50 frames a second.

    n_fft 1920, hop 480, Hann, reflected by 720 samples at both ends and not centred, magnitude
    sqrt(|X|² + 1e-9), 80 mels up to 8 kHz, natural logarithm clamped at 1e-5.

    Args:
        samples: [N] float32 at 24 kHz, more than 720 of them.

    Returns:
        [N // 480, 80] float32.
    """
    edge = (_VOICE_N_FFT - _VOICE_HOP) // 2
    padded = F.pad(samples[None], (edge, edge), mode="reflect")[0]
    window = torch.hann_window(_VOICE_N_FFT, device=samples.device)
    spectrum = torch.stft(
        padded, _VOICE_N_FFT, _VOICE_HOP, window=window, center=False, return_complex=True
    )
    magnitude = torch.sqrt(torch.view_as_real(spectrum).pow(2).sum(-1) + 1e-9)  # [961, T]
    filters = mel_filterbank(_VOICE_RATE_HZ, _VOICE_N_FFT, _VOICE_MELS, _VOICE_MAX_HZ)
    return (filters.to(samples.device) @ magnitude).clamp(min=1e-5).log().T.contiguous()
