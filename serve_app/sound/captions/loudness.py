"""The loudness of a sound, in hops of 10 ms. Streaming."""

from typing import Any

import numpy as np

from deployments.messages import OUTPUT_SAMPLE_RATE_HZ

Levels = np.ndarray[Any, np.dtype[np.float32]]

HOP_S = 0.01
HOP_SAMPLES = round(HOP_S * OUTPUT_SAMPLE_RATE_HZ)
SAMPLE_BYTES = 2
FULL_SCALE = 32768


class Loudness:
    """Of one sound that comes in pieces of any length."""

    def __init__(self) -> None:
        self._rest = b""

    def hear(self, pcm: bytes) -> Levels:
        """The next s16le, mono, 24 kHz → [H] root mean squares of the hops that it completes."""
        data = self._rest + pcm
        whole = len(data) - len(data) % (SAMPLE_BYTES * HOP_SAMPLES)
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.float32) / FULL_SCALE
        return np.sqrt(np.mean(samples.reshape(-1, HOP_SAMPLES) ** 2, axis=1))
