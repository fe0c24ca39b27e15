"""Log-mel spectrograms of both stages: two recipes on one filterbank.

The 16 kHz recipe (Whisper's) feeds the Thinker's audio encoder and the S3 speech tokenizer, the
24 kHz one describes a voice to the flow model.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F

from deployments.mel_filters import mel_filters

_SPEECH_RATE_HZ, _SPEECH_N_FFT, _SPEECH_HOP = 16_000, 400, 160
_VOICE_RATE_HZ, _VOICE_N_FFT, _VOICE_HOP = 24_000, 1920, 480
_VOICE_MELS, _VOICE_MAX_HZ = 80, 8000.0


@lru_cache(maxsize=8)
def mel_filterbank(rate_hz: int, n_fft: int, n_mels: int, max_hz: float) -> torch.Tensor:
    """The filters of `mel_filters` as a tensor.

    Returns:
        [n_mels, n_fft // 2 + 1] float32. Shared: never write to it.
    """
    return torch.from_numpy(mel_filters(rate_hz, n_fft, n_mels, max_hz))


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
