"""Samples that are decoded already: their rate, their format."""

import numpy as np
import soxr


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """[N] float32 at one rate -> [N * to_hz / from_hz] float32 at another."""
    if from_hz == to_hz:
        return samples
    return soxr.resample(samples, from_hz, to_hz).astype(np.float32, copy=False)


def to_pcm16(samples: np.ndarray) -> bytes:
    """Floats in -1 … 1 -> s16le bytes; what is louder is clipped, fractions are cut off."""
    return (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
