"""Whether there is time to give one more stream its sound, by what the latest steps took."""

from collections import deque
from collections.abc import Iterable
from statistics import median

from deployments.token2wav.schedule import Listener, Need

HORIZON_S = 1.0  # looked ahead
SHARE = 0.65  # of that time for the chunks that are known to be needed; steps do not come full
FORGET_S = 60.0
REMEMBERED = 16  # steps; their median counts, so that one slow step changes nothing
AT_LEAST = 4  # of them, before anything is known


class Admission:
    """Measures the cost of a row of a step, and refuses a stream if its chunks would be late.

    A stream that is ahead of its playback needs no step for a while. A new stream needs several
    small chunks at once. So a server holds many streams, but few that begin at one moment.

    While a stream is made again from its beginning, its listener waits, and no other one is begun.

    A stream is refused only where that helps. An engine that is too slow to speak even one answer
    in real time causes gaps for every listener in any case, so it admits every stream.
    """

    def __init__(self, min_rows: int | None) -> None:
        """Steps of fewer rows than `min_rows` do not show what a row costs in a full step.

        None: each row of a step is computed by itself, and its cost grows with its speech.
        """
        self._min_rows = min_rows
        self._row_costs_s: deque[float] = deque(maxlen=REMEMBERED)
        self._paces: deque[float] = deque(maxlen=REMEMBERED)  # time of a step / of its speech
        self._noted_s = 0.0

    def note_step(self, rows: int, speech_s: float, took_s: float, now_s: float) -> None:
        """Take note of a step: its rows, the seconds of speech in all of them, and its time."""
        self._paces.append(took_s / speech_s)
        if self._min_rows is not None and rows >= self._min_rows:
            self._row_costs_s.append(took_s / rows)
            self._noted_s = now_s

    def fits(
        self, listeners: Iterable[Listener], newcomer: Listener, now_s: float, *, late: bool
    ) -> bool:
        """Whether all chunks that are needed in the next second can be made in time.

        Args:
            listeners: of the open streams.
            late: whether one of them hears a gap now because its chunk waits for a step; then
                nothing is added in the background either.
        """
        if not self._is_quick_enough:
            return True
        late = late or any(one.is_heard and one.replays for one in listeners)
        if not newcomer.is_heard:
            return newcomer.priority == "live" or not late
        if late:
            return False
        others_s = sum(self._cost_s(one.needs(now_s, HORIZON_S), now_s) for one in listeners)
        own_s = self._cost_s(newcomer.needs(now_s, HORIZON_S), now_s)
        return not others_s or others_s + own_s <= SHARE * HORIZON_S

    def time_left(self, listeners: Iterable[Listener], now_s: float) -> float:
        """The share of the time for chunks that the open streams leave in the next second.

        Below 0 where their chunks cannot be made in time; 1 where the cost of a row is not known,
        and where no stream is refused for want of time.
        """
        if not self._is_quick_enough:
            return 1.0
        needed_s = sum(self._cost_s(one.needs(now_s, HORIZON_S), now_s) for one in listeners)
        return 1.0 - needed_s / (SHARE * HORIZON_S)

    @property
    def _is_quick_enough(self) -> bool:
        """Whether a step is known to take less time than its speech."""
        return len(self._paces) >= AT_LEAST and median(self._paces) < 1.0

    def _cost_s(self, need: Need, now_s: float) -> float:
        """The time that it takes to make these chunks; 0 where it is not known."""
        if self._min_rows is None:
            return need.speech_s * median(self._paces)
        if now_s - self._noted_s > FORGET_S:  # a row costs more on a busy GPU
            self._row_costs_s.clear()
        if len(self._row_costs_s) < AT_LEAST:
            return 0.0
        return need.chunks * median(self._row_costs_s)
