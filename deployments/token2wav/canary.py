"""A short answer that an engine repeats: whether it still gives the sound that it gave at start."""

import numpy as np

from deployments.errors import EngineFailed

TOKENS = 8  # 0.32 s of speech: one step of the smallest shape
INTERVAL_S = 5.0  # between two checks, at least
IDLE_SHARE = 20  # and at least this many times its duration: 5 % of the time of a slow engine
# Two shapes of a batch differ by 40 dB at the least in float16, and the same shape by nothing.
LEAST_SNR_DB = 20.0
QUIET = 4.0  # in squared steps of 16 bits: in silence, rounding alone counts as no difference


def canary_tokens(codebook_size: int) -> tuple[int, ...]:
    """Audio tokens from all over the codebook."""
    return tuple((1 + 397 * index) % codebook_size for index in range(TOKENS))


def same_sound(pcm: bytes, expected: bytes) -> bool:
    """Whether two pieces of s16le are equal but for rounding."""
    if len(pcm) != len(expected):
        return False
    got, wanted = (np.frombuffer(part, "<i2").astype(np.float64) for part in (pcm, expected))
    signal, noise = np.square(wanted).mean(), np.square(got - wanted).mean()
    return bool(noise <= signal / 10 ** (LEAST_SNR_DB / 10) + QUIET)


class Canary:
    """Holds the sound that the engine gave at start, and when to compare it again."""

    def __init__(self) -> None:
        self._expected: bytes | None = None
        self._next_s = 0.0
        self._died = False
        self.took_s = 0.0  # the last time

    def is_due(self, now_s: float) -> bool:
        """Whether the engine should answer again, if it has time."""
        return self._expected is not None and now_s >= self._next_s

    def hear(self, pcm: bytes, began_s: float, ended_s: float) -> None:
        """Take note of an answer. The first one is what all later ones are compared with."""
        self.took_s = ended_s - began_s
        self._next_s = ended_s + max(INTERVAL_S, IDLE_SHARE * self.took_s)
        if self._expected is None:
            self._expected = pcm
        self._died = self._died or not same_sound(pcm, self._expected)

    def require_alive(self) -> None:
        """Raise EngineFailed once any answer has differed from the first."""
        if self._died:
            raise EngineFailed("Token2Wav's engine gives another sound than it gave at start")
