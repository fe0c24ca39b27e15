"""The spectrogram that Smart Turn hears: Whisper's, of 8 s, made with numpy."""

from functools import cache

import numpy as np

from deployments.mel_filters import mel_filters
from serve_app.sound.voice_activity import RATE_HZ

SAMPLES_HEARD = 8 * RATE_HZ
WINDOW, HOP, MELS = 400, 160, 80
LEAST_POWER, RANGE = 1e-10, 8.0  # RANGE in powers of ten below the loudest value
LEAST_VARIANCE = 1e-7


def log_mel(samples: np.ndarray) -> np.ndarray:
    """What `WhisperFeatureExtractor(chunk_length=8)` gives with `do_normalize=True`.

    Args:
        samples: [N] float32 at 16 kHz. The last 8 s count; zeros stand before a shorter sound.

    Returns:
        [80, 800] float32.
    """
    heard = samples[-SAMPLES_HEARD:]
    sound = np.zeros(SAMPLES_HEARD, np.float32)
    sound[SAMPLES_HEARD - len(heard) :] = heard
    sound = (sound - sound.mean()) / np.sqrt(sound.var() + LEAST_VARIANCE)
    padded = np.pad(sound, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:-1:HOP]  # [800, 400]
    hann, filters = _tables()
    spectrum = np.fft.rfft(windows * hann)
    power = spectrum.real**2 + spectrum.imag**2  # [800, 201]
    values = np.log10(np.maximum(filters @ power.T, LEAST_POWER))
    return ((np.maximum(values, values.max() - RANGE) + 4.0) / 4.0).astype(np.float32)


@cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """[400], Hann's window of that period, and [80, 201], the mel filters."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    return hann.astype(np.float32), mel_filters(RATE_HZ, WINDOW, MELS, RATE_HZ / 2)
