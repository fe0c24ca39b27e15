"""Both stages in one decision: up at once, down slowly, and steady while the load is noisy.

A replica says its load: the share of its places, time or cache that is taken, 1 where it refuses.
The sum over a stage's replicas is the work of the stage, in replicas. Where answers are refused for
want of room, the work that was offered is more than the work that is done. A spoken answer that
Token2Wav refuses never reaches the Thinker, so what was refused counts for both stages.

up      at once, by the mean of a minute; by that of some seconds where little is free
down    to what the last ten minutes needed at most, with a margin
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

    load: Share = 0.93
    """That a replica is to have in the mean of `mean_s`."""

    urgent_load: Share = 0.95
    """Above it the mean of `urgent_s` decides: the next burst would be refused."""

    mean_s: Annotated[float, Field(gt=0)] = 60.0
    """Noise of some seconds changes nothing."""

    urgent_s: Annotated[float, Field(gt=0)] = 3.0

    keep_s: Annotated[float, Field(gt=0)] = 600.0
    """What was needed in that time is kept."""

    margin: Annotated[float, Field(ge=0, lt=1)] = 0.08
    """A stage shrinks only if the load would then be below `load` by this share of it."""

    growth: Annotated[float, Field(gt=1)] = 4.0
    """The most that a stage grows at once, in times of its warm replicas."""


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
    needed: deque[tuple[float, float]] = field(default_factory=deque)  # falling, of `keep_s`

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

    @property
    def most_needed(self) -> float:
        """In the time that is kept."""
        return self.needed[0][1]


class HeadroomPolicy:
    """Remembers what the stages needed, and says how many replicas they should have."""

    def __init__(self, scaling: Scaling | None = None) -> None:
        self._scaling = scaling or Scaling()
        self._histories: dict[str, _History] = {}
        self._began_s: float | None = None

    def decide(self, stages: Mapping[str, Stage], offered: float, now_s: float) -> dict[str, int]:
        """Replicas of each stage.

        Args:
            offered: the answers that were asked for, in times of those that were let in; 1 where
                none was refused.
            now_s: of any clock that goes on.
        """
        self._began_s = now_s if self._began_s is None else self._began_s
        return {
            name: min(max(self._wanted(name, stage, offered, now_s), stage.least), stage.most)
            for name, stage in stages.items()
        }

    def _wanted(self, name: str, stage: Stage, offered: float, now_s: float) -> int:
        if not stage.loads:  # nothing is known, which is not the same as nothing to do
            return stage.target
        scaling, history = self._scaling, self._histories.setdefault(name, _History())
        work = sum(stage.loads.values()) * max(1.0, offered)
        history.note(now_s, work, scaling.mean_s)
        needed = self._needed(history, stage, now_s)
        history.need(now_s, needed, scaling.keep_s)
        wanted = min(math.ceil(needed / scaling.load), self._most(stage))
        if wanted >= stage.target:
            return wanted
        return min(stage.target, max(wanted, self._kept(history, stage, now_s)))

    def _needed(self, history: _History, stage: Stage, now_s: float) -> float:
        """The work of the last minute, or of the last seconds where that is urgent."""
        mean = history.mean(now_s, self._scaling.mean_s)
        urgent = history.mean(now_s, self._scaling.urgent_s)
        is_urgent = urgent > self._scaling.urgent_load * stage.warm
        return max(mean, urgent) if is_urgent else mean

    def _most(self, stage: Stage) -> int:
        """What a stage may grow to: what is not warm yet has shown nothing."""
        return max(math.ceil(self._scaling.growth * stage.warm), stage.target)

    def _kept(self, history: _History, stage: Stage, now_s: float) -> int:
        """What a stage keeps at least: nothing is taken away before a whole `keep_s` was seen."""
        assert self._began_s is not None
        if not stage.all_report or now_s - self._began_s < self._scaling.keep_s:
            return stage.target
        return math.ceil(history.most_needed / (self._scaling.load * (1 - self._scaling.margin)))
