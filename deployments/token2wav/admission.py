"""Whether one more stream can be given its sound in time, by what steps have cost of late."""

from collections import deque
from collections.abc import Iterable
from statistics import median

from deployments.token2wav.schedule import Listener

HORIZON_S = 1.0  # looked ahead
SHARE = 0.65  # of that time for what is known to be wanted; steps do not come full
FORGET_S = 60.0
REMEMBERED = 16  # steps, of which the median counts: one that was held up says nothing
AT_LEAST = 4  # of them, before anything is known


class Admission:
    """Knows the price of a row, and refuses whose chunks would not fit beside the others'.

    A stream that is ahead of its listener wants nothing for a while; one that begins wants
    several small chunks at once. So many streams fit, but not many beginnings in one moment.
    """

    def __init__(self, max_batch: int) -> None:
        """`max_batch` is of one step: one that is half full says what a row costs."""
        self._min_rows = max(2, max_batch // 2)
        self._row_costs_s: deque[float] = deque(maxlen=REMEMBERED)
        self._noted_s = 0.0

    def note_step(self, rows: int, took_s: float, now_s: float) -> None:
        """Take note of a step of so many rows."""
        if rows < self._min_rows:
            return
        self._row_costs_s.append(took_s / rows)
        self._noted_s = now_s

    def fits(self, streams: Iterable[Listener], newcomer: Listener, now_s: float) -> bool:
        """Whether all chunks that are wanted in the next second can be made in time.

        As long as few large steps were seen lately, nothing is known and everybody fits; so they
        do where one stream alone is not in real time, as on a small CPU: refusing helps nobody.
        """
        if now_s - self._noted_s > FORGET_S:
            self._row_costs_s.clear()
        if len(self._row_costs_s) < AT_LEAST:
            return True
        most = SHARE * HORIZON_S / median(self._row_costs_s)
        alone = newcomer.chunks_wanted(now_s, HORIZON_S)
        others = sum(stream.chunks_wanted(now_s, HORIZON_S) for stream in streams)
        return alone + others <= most or alone > most
