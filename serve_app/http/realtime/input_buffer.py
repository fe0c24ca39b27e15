"""The sound that a client has sent and that is no turn yet. Pure."""

from collections import deque

import numpy as np

from deployments.messages import INPUT_SAMPLE_RATE_HZ

SAMPLES_PER_MS = INPUT_SAMPLE_RATE_HZ // 1000


class InputBuffer:
    """Samples by their place in all sound of the session; [N] float32 at 16 kHz."""

    def __init__(self) -> None:
        self._pieces: deque[np.ndarray] = deque()
        self._start = 0  # the place of the first sample that is kept
        self._end = 0

    @property
    def length_ms(self) -> int:
        """How much is kept."""
        return (self._end - self._start) // SAMPLES_PER_MS

    def push(self, samples: np.ndarray) -> None:
        """Keep the next samples."""
        if len(samples):
            self._pieces.append(samples)
            self._end += len(samples)

    def take(self, start_ms: int | None = None, end_ms: int | None = None) -> np.ndarray:
        """What lies between two places, as far as it is kept; what lies before goes, too."""
        first = self._place(start_ms, self._start)
        last = self._place(end_ms, self._end)
        everything = self._joined()
        taken = everything[first - self._start : last - self._start].copy()
        self._pieces = deque([everything[last - self._start :]])
        self._start = last
        return taken

    def peek(self, start_ms: int) -> np.ndarray:
        """What has come since then, as far as it is kept."""
        return self._joined()[self._place(start_ms, self._start) - self._start :].copy()

    def clear(self) -> None:
        """Forget what is kept."""
        self._pieces.clear()
        self._start = self._end

    def keep_last(self, milliseconds: int) -> None:
        """Forget what is older, in whole pieces."""
        most = milliseconds * SAMPLES_PER_MS
        while self._pieces and self._end - self._start - len(self._pieces[0]) >= most:
            self._start += len(self._pieces.popleft())

    def _place(self, at_ms: int | None, otherwise: int) -> int:
        if at_ms is None:
            return otherwise
        return min(max(at_ms * SAMPLES_PER_MS, self._start), self._end)

    def _joined(self) -> np.ndarray:
        return np.concatenate([np.empty(0, np.float32), *self._pieces])
