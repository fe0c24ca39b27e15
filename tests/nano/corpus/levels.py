"""Ends and loudness of what a synthesiser says: alike for all of them."""

from typing import Final

import numpy as np

_EDGE_S: Final = 0.06  # of quiet kept at either end
_EDGE_LEVEL: Final = 0.01  # of the peak: what is below at the ends counts as quiet
_RMS: Final = 0.1
_PEAK: Final = 0.89


def trimmed(samples: np.ndarray, rate_hz: int, said: tuple[int, int] | None = None) -> np.ndarray:
    """[N] float samples with 60 ms of quiet at either end, cut or added.

    `said` are the first and the last sample that are loud; None: as `loud_part` finds them.
    """
    first, last = said or loud_part(samples)
    edge = round(_EDGE_S * rate_hz)
    before, after = max(edge - first, 0), max(edge - (len(samples) - 1 - last), 0)
    kept = samples[max(first - edge, 0) : last + 1 + edge]
    return np.pad(kept, (before, after))


def loud_part(samples: np.ndarray) -> tuple[int, int]:
    """The first and the last of samples [N] above a hundredth of the peak."""
    loud = np.flatnonzero(np.abs(samples) > _EDGE_LEVEL * np.abs(samples).max())
    return int(loud[0]), int(loud[-1])


def levelled(samples: np.ndarray) -> np.ndarray:
    """[N] float32 at a root mean square of 0.1, or softer where a peak would pass 0.89."""
    rms = float(np.sqrt(np.mean(samples**2)))
    gain = min(_RMS / rms, _PEAK / float(np.abs(samples).max()))
    return (samples * np.float32(gain)).astype(np.float32)
