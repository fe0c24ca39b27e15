"""Both stages in one decision: up at once, down slowly, and steady while the load is noisy.

A replica says its load: the share of its places, time or cache that is taken, 1 where it refuses.
The sum over a stage's replicas is the work of the stage, in replicas. Where answers are refused for
want of room, the work that was offered is more than the work that is done. A spoken answer that
Token2Wav refuses never reaches the Thinker, so what was refused counts for both stages.

up      at once, by the mean of 90 s; by that of some seconds where little is free
down    to what the last ten minutes needed at most, with a margin; where that would turn the
        direction, to what the last hour needed

A stage that has grown shrinks an hour later at the earliest. So the direction turns twice in an
hour only where a stage that had needed less for an hour needs more within the next one.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from deployments.settings import Settings

Share = Annotated[float, Field(gt=0, le=1)]


class Scaling(Settings):
    """When a stage grows and shrinks."""

    load: Share = 0.95
    """That a replica is to have in the mean of `mean_s`."""

    urgent_load: Share = 0.97
    """Above it the mean of `urgent_s` decides: the next burst would be refused."""

    mean_s: Annotated[float, Field(gt=0)] = 90.0
    """Noise of some seconds changes nothing."""

    urgent_s: Annotated[float, Field(gt=0)] = 3.0

    keep_s: Annotated[float, Field(gt=0)] = 600.0
    """What was needed in that time is kept."""

    turn_s: Annotated[float, Field(gt=0)] = 3600.0
    """As `keep_s`, of a stage that grew last, and as long again once it shrinks."""

    margin: Annotated[float, Field(ge=0, lt=1)] = 0.10
    """A stage shrinks only if the load would then be below `load` by this share of it."""

    growth: Annotated[float, Field(gt=1)] = 4.0
    """The most that a stage grows at once, in times of its warm replicas."""

    @property
    def longest_s(self) -> float:
        return max(self.keep_s, self.turn_s)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage at one moment."""

    loads: Mapping[str, float]
    """Of the replicas that report. One that starts has none: it counts once it is warm."""

    warm: int
    """Replicas that take requests."""

    target: int
    """Replicas that are wanted so far."""

    least: int = 1
    most: int = 1_000

    @property
    def all_report(self) -> bool:
        return len(self.loads) >= self.warm > 0


@dataclass(slots=True)
class _History:
    """The work of a stage, in replicas."""

    work: deque[tuple[float, float]] = field(default_factory=deque)  # of `mean_s`
    needed: deque[tuple[float, float]] = field(default_factory=deque)  # falling, of the longest

    def note(self, now_s: float, work: float, over_s: float) -> None:
        self.work.append((now_s, work))
        while self.work[0][0] <= now_s - over_s:
            self.work.popleft()

    def need(self, now_s: float, work: float, over_s: float) -> None:
        """Take note of the work that was decided by."""
        while self.needed and self.needed[-1][1] <= work:
            self.needed.pop()
        self.needed.append((now_s, work))
        while self.needed[0][0] <= now_s - over_s:
            self.needed.popleft()

    def mean(self, now_s: float, over_s: float) -> float:
        """Of the work in that time."""
        recent = [work for at_s, work in self.work if at_s > now_s - over_s]
        return sum(recent) / len(recent)

    def most_needed(self, now_s: float, over_s: float) -> float:
        """In that time. The deque falls, so its first entry in that time is the most."""
        return next(work for at_s, work in self.needed if at_s > now_s - over_s)


@dataclass(slots=True)
class _Direction:
    """Whether a stage grew last, and when one that had grown began to shrink."""

    grew: bool = False
    turned_down_s: float | None = None

    def note(self, change: int, now_s: float) -> None:
        if change > 0:
            self.grew, self.turned_down_s = True, None
        elif change < 0 and self.grew:
            self.grew, self.turned_down_s = False, now_s

    def keep_s(self, now_s: float, scaling: Scaling) -> float:
        """How far back what was needed is kept."""
        turned = self.turned_down_s is not None and now_s - self.turned_down_s < scaling.turn_s
        return scaling.longest_s if self.grew or turned else scaling.keep_s


@dataclass(slots=True)
class _Past:
    """What is remembered of a stage."""

    history: _History = field(default_factory=_History)
    direction: _Direction = field(default_factory=_Direction)


class HeadroomPolicy:
    """Remembers what the stages needed, and says how many replicas they should have."""

    def __init__(self, scaling: Scaling | None = None) -> None:
        self._scaling = scaling or Scaling()
        self._pasts: dict[str, _Past] = {}
        self._began_s: float | None = None

    def decide(self, stages: Mapping[str, Stage], offered: float, now_s: float) -> dict[str, int]:
        """Replicas of each stage.

        Args:
            offered: the answers that were asked for, in times of those that were let in; 1 where
                none was refused.
            now_s: of any clock that goes on.
        """
        self._began_s = now_s if self._began_s is None else self._began_s
        return {name: self._decided(name, one, offered, now_s) for name, one in stages.items()}

    def _decided(self, name: str, stage: Stage, offered: float, now_s: float) -> int:
        """What is wanted, within the bounds."""
        past = self._pasts.setdefault(name, _Past())
        wanted = self._wanted(past, stage, offered, now_s)
        decided = min(max(wanted, stage.least), stage.most)
        past.direction.note(decided - stage.target, now_s)
        return decided

    def _wanted(self, past: _Past, stage: Stage, offered: float, now_s: float) -> int:
        if not stage.loads:  # nothing is known, which is not the same as nothing to do
            return stage.target
        scaling, history = self._scaling, past.history
        work = sum(stage.loads.values()) * max(1.0, offered)
        history.note(now_s, work, scaling.mean_s)
        needed = self._needed(history, stage, now_s)
        history.need(now_s, needed, scaling.longest_s)
        wanted = min(math.ceil(needed / scaling.load), self._most(stage))
        if wanted >= stage.target:
            return wanted
        return min(stage.target, max(wanted, self._kept(past, stage, now_s)))

    def _needed(self, history: _History, stage: Stage, now_s: float) -> float:
        """The mean work of `mean_s`, or of the last seconds where that is urgent."""
        mean = history.mean(now_s, self._scaling.mean_s)
        urgent = history.mean(now_s, self._scaling.urgent_s)
        is_urgent = urgent > self._scaling.urgent_load * stage.warm
        return max(mean, urgent) if is_urgent else mean

    def _most(self, stage: Stage) -> int:
        """What a stage may grow to: what is not warm yet has shown nothing."""
        return max(math.ceil(self._scaling.growth * stage.warm), stage.target)

    def _kept(self, past: _Past, stage: Stage, now_s: float) -> int:
        """What a stage keeps at least: nothing is taken away before all of that time was seen."""
        assert self._began_s is not None
        over_s = past.direction.keep_s(now_s, self._scaling)
        if not stage.all_report or now_s - self._began_s < over_s:
            return stage.target
        most_needed = past.history.most_needed(now_s, over_s)
        return math.ceil(most_needed / (self._scaling.load * (1 - self._scaling.margin)))
