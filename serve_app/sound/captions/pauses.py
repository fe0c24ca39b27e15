"""Where somebody who speaks is quiet, by the loudness alone. Streaming."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from serve_app.sound.captions.loudness import HOP_S, Levels

Times = np.ndarray[Any, np.dtype[np.float64]]

QUIET = 10 ** (-35 / 20)  # −35 dB below the loudest hop so far: softer than nearly all of a word
LEAST_LEVEL = 10 ** (-60 / 20)  # of full scale: speech is never so soft
LEAST_PAUSE_HOPS = 10  # 100 ms: the closure of a "t" takes up to 80
LEAST_SOUND_HOPS = 3  # a click of 20 ms ends no pause
ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Pause:
    """A stretch of quiet, in seconds from the beginning."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


class PauseFinder:
    """Finds the pauses of one answer. The first one ends where the speech begins."""

    def __init__(self) -> None:
        self._hops = 0
        self._loudest = 0.0
        self._quiet_from: int | None = 0  # the hop that a quiet began with; None: there is sound
        self._loud_hops = 0  # that follow the quiet, without a gap

    @property
    def sound_end_s(self) -> float:
        """Where the last sound ended, or the end of all that came."""
        return HOP_S * (self._hops if self._quiet_from is None else self._quiet_from)

    def hear(self, levels: Levels) -> list[Pause]:
        """The pauses that end in the next hops."""
        return [pause for level in levels.tolist() if (pause := self._hop(level))]

    def _hop(self, level: float) -> Pause | None:
        hop, self._hops = self._hops, self._hops + 1
        self._loudest = max(self._loudest, level)
        loud = level > max(QUIET * self._loudest, LEAST_LEVEL)
        if self._quiet_from is None:
            if not loud:
                self._quiet_from, self._loud_hops = hop, 0
            return None
        self._loud_hops = self._loud_hops + 1 if loud else 0
        if self._loud_hops < LEAST_SOUND_HOPS:
            return None
        start, end = self._quiet_from, self._hops - self._loud_hops
        self._quiet_from = None
        if start > 0 and end - start < LEAST_PAUSE_HOPS:
            return None
        return Pause(HOP_S * start, HOP_S * end)


class Timeline:
    """Where speech lies between pauses: without them, and on the clock."""

    def __init__(self) -> None:
        self.pauses: list[Pause] = []
        self.voiced_before_s: list[float] = []  # speech before each pause
        self._quiet_s = [0.0]  # quiet before each pause, and of all

    def add(self, pause: Pause) -> None:
        """The next pause."""
        self.pauses.append(pause)
        self.voiced_before_s.append(self.voiced_s(pause.start_s))
        self._quiet_s.append(self._quiet_s[-1] + pause.length_s)

    def voiced_s(self, time_s: float) -> float:
        """How much speech there was by a time that is not before the last pause."""
        return time_s - self._quiet_s[-1]

    def times_s(self, voiced_s: Times) -> Times:
        """[N] of speech → [N] on the clock; at a pause, its end."""
        pauses = np.searchsorted(
            np.array(self.voiced_before_s), voiced_s + ROUNDING_S, side="right"
        )
        return voiced_s + np.array(self._quiet_s)[pauses]
