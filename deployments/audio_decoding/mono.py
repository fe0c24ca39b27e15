"""Blocks of any rate and channels -> one bounded channel at one rate."""

import numpy as np
import soxr

from deployments.audio_decoding.block import Block
from deployments.errors import AudioTooLong, AudioUnreadable

# +24 dB over full scale. A correct float file clips at most a few dB above 1, a mix without
# normalization perhaps 12 dB. Integers that were saved as floats begin at 128.
LOUDEST = 16.0
# −300 dB: inaudible, and the square is still a normal float32. Arithmetic with denormals takes a
# processor up to a hundred times as long.
SOFTEST = 1e-15
# Telephones record at 8 kHz, the fastest converters at 768 kHz. Other rates come from damaged
# headers, and resampling from them takes any amount of memory.
RATES_HZ = range(1_000, 768_001)
ROUNDING_S = 1e-6  # of the sum of many blocks
_NOTHING = np.empty(0, np.float32)


class MonoSound:
    """One channel of the blocks of a recording: checks, mixes and resamples them one by one.

    Args:
        rate_hz: the rate wanted; None takes that of the first block.
        max_s: the longest recording allowed; None allows any.
        before_s: how much of `max_s` is taken already.
    """

    def __init__(self, rate_hz: int | None, max_s: float | None, before_s: float = 0.0) -> None:
        self.rate_hz = rate_hz
        self.before_s = before_s
        self.seconds = 0.0
        self._terms = rate_hz, max_s, before_s
        self._from_hz: int | None = None
        self._resampler: soxr.ResampleStream | None = None

    def anew(self) -> "MonoSound":
        """An empty one on the same terms."""
        return MonoSound(*self._terms)

    def add(self, block: Block) -> np.ndarray:
        """Take the next block; the samples that are ready, [n] float32 at `rate_hz`.

        Raises:
            AudioTooLong: it goes past `max_s`.
            AudioUnreadable: it holds what is not a sound: NaN, infinity, absurd loudness.
        """
        self._spend(block)
        require_sound(block.samples)
        mono = block.samples.mean(axis=0) if len(block.samples) > 1 else block.samples[0]
        before = self._go_on_from(block.rate_hz)
        samples = self._resampled(without_denormals(mono))
        return np.concatenate((before, samples)) if len(before) else samples

    def finish(self) -> np.ndarray:
        """The last samples, [n] float32. Nothing may be added afterwards."""
        if self._resampler is None:
            return _NOTHING
        tail = self._resampler.resample_chunk(_NOTHING, last=True)
        self._resampler = None
        return without_denormals(tail)

    def _spend(self, block: Block) -> None:
        if block.rate_hz not in RATES_HZ:
            raise AudioUnreadable(f"a sample rate of {block.rate_hz} Hz cannot be meant")
        self.seconds += block.samples.shape[1] / block.rate_hz
        _, max_s, before_s = self._terms
        total_s = before_s + self.seconds
        if max_s is not None and total_s > max_s + ROUNDING_S:
            raise AudioTooLong(total_s, max_s, is_all=False)

    def _go_on_from(self, from_hz: int) -> np.ndarray:
        """Expect samples at `from_hz`, which may change where recordings were joined.

        Gives what was held back of those at the rate before.
        """
        if from_hz == self._from_hz:
            return _NOTHING
        before = self.finish()
        self._from_hz = from_hz
        self.rate_hz = self.rate_hz or from_hz
        if from_hz != self.rate_hz:
            self._resampler = soxr.ResampleStream(from_hz, self.rate_hz, 1, dtype="float32")
        return before

    def _resampled(self, mono: np.ndarray) -> np.ndarray:
        if self._resampler is None:
            return mono
        return without_denormals(self._resampler.resample_chunk(mono))


def require_sound(samples: np.ndarray) -> None:
    """Refuse samples that no engine can take. [C, n] float32: mixed, channels could hide them.

    Raises:
        AudioUnreadable: one is not a number, or louder than LOUDEST.
    """
    peak = peak_of(samples)
    if np.isnan(peak):
        raise AudioUnreadable("the recording holds samples that are not numbers")
    if peak > LOUDEST:
        raise AudioUnreadable(
            f"the recording holds a sample of {peak:g}, full scale is 1 and the limit {LOUDEST:g}"
        )


def peak_of(samples: np.ndarray) -> float:
    """The largest magnitude; NaN if a sample is none."""
    return float(np.maximum(samples.max(initial=0.0), -samples.min(initial=0.0)))


def without_denormals(samples: np.ndarray) -> np.ndarray:
    """The same samples, with zeros for those softer than SOFTEST."""
    soft = np.abs(samples) < SOFTEST
    return np.where(soft, np.float32(0.0), samples) if soft.any() else samples
