"""The borders of a stretch of speech by its loudness: the model's own are off by up to 120 ms."""

import numpy as np

from serve_app.sound.voice_activity.silero import RATE_HZ

HOP_SAMPLES = RATE_HZ // 100  # 10 ms
QUIETEST = 10 ** (-46 / 20)  # −46 dB below the loudest moment: softer than any sound of a word
OVER_NOISE = 2.0  # 6 dB over the noise before and behind the speech
OUTSIDE_HOPS, INSIDE_HOPS = 10, 20  # how far from the model's border the true one is looked for
OUTSIDE_SAMPLES = OUTSIDE_HOPS * HOP_SAMPLES
NOISE_HOPS = 30  # before and behind the speech


def tighten(samples: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """Where the sound itself begins and ends.

    Args:
        samples: [N] float32 at 16 kHz, with some silence around the speech.
        start, end: the model's borders in it.

    Returns:
        The borders, to 10 ms; where the loudness says nothing, the model's.
    """
    levels = _levels(samples)
    first, behind = start // HOP_SAMPLES, min(-(-end // HOP_SAMPLES), len(levels))
    if behind <= first:
        return start, end
    loud = levels > max(QUIETEST * levels[first:behind].max(), _noise(levels, first, behind))
    begins = np.flatnonzero(loud[_around(first, -OUTSIDE_HOPS, INSIDE_HOPS)])
    ends = np.flatnonzero(loud[_around(behind, -INSIDE_HOPS, OUTSIDE_HOPS)])
    if not len(begins) or not len(ends):
        return start, end
    begin = (max(first - OUTSIDE_HOPS, 0) + begins[0]) * HOP_SAMPLES
    stop = (max(behind - INSIDE_HOPS, 0) + ends[-1] + 1) * HOP_SAMPLES
    return (int(begin), min(int(stop), len(samples))) if begin < stop else (start, end)


def _around(hop: int, before: int, after: int) -> slice:
    return slice(max(hop + before, 0), hop + after)


def _levels(samples: np.ndarray) -> np.ndarray:
    """[N] -> [N / HOP_SAMPLES], the root mean square of each hop."""
    hops = samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES].reshape(-1, HOP_SAMPLES)
    return np.sqrt(np.mean(hops**2, axis=1))


def _noise(levels: np.ndarray, first: int, behind: int) -> float:
    """A level above that of the silence around the speech."""
    before = levels[max(first - NOISE_HOPS, 0) : max(first - INSIDE_HOPS // 4, 0)]
    after = levels[behind : behind + NOISE_HOPS]
    floors = [np.median(before)] if len(before) else []
    floors += [np.percentile(after, 20)] if len(after) else []
    return OVER_NOISE * float(min(floors, default=0.0))
