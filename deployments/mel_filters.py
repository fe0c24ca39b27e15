"""Mel filters, without torch: what listens for turns has them in common with both stages."""

import numpy as np

# Slaney's mel scale: linear below 1 kHz, logarithmic above (M. Slaney, Auditory Toolbox, 1998).
_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27


def mel_filters(rate_hz: int, n_fft: int, n_mels: int, max_hz: float) -> np.ndarray:
    """Triangular filters on Slaney's scale, each of unit area, from 0 Hz to `max_hz`.

    Returns:
        [n_mels, n_fft // 2 + 1] float32, equal to `librosa.filters.mel`.
    """
    bins_hz = np.fft.rfftfreq(n_fft, 1.0 / rate_hz)
    edges_hz = _mel_to_hz(np.linspace(0.0, _hz_to_mel(max_hz), n_mels + 2))
    widths = np.diff(edges_hz)
    distance = edges_hz[:, None] - bins_hz[None, :]  # [n_mels + 2, bins]
    rising = -distance[:-2] / widths[:-1, None]
    falling = distance[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    area = 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return (triangles * area[:, None]).astype(np.float32)


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _HZ_PER_MEL
    return float(_LOG_START_MEL + np.log(hz / _LOG_START_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    linear = mel * _HZ_PER_MEL
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return np.where(mel < _LOG_START_MEL, linear, logarithmic)
