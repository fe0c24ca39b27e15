"""The table of what was measured, and what it says of a layout."""

import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from deployments.settings import Settings

TABLE = Path(__file__).with_name("measured.yaml")
CONFIDENCE_Z = 1.96  # of a normal distribution: 95 %, both sides


class Goal(Settings):
    """What listeners are to have."""

    without_gap: float = Field(default=0.98, gt=0, le=1)
    """The share of the answers that were let in in which nobody hears a gap."""

    refused: float = Field(default=0.01, ge=0, lt=1)
    """The share of all answers that may be refused."""


class Measurement(Settings):
    """Listeners at one level, in one run."""

    listeners: int = Field(gt=0)
    answers: int = Field(gt=0)
    refused: int = Field(ge=0)
    without_gap: float = Field(ge=0, le=1)
    file: str


class Level(Settings):
    """All runs at one level together."""

    listeners: int
    answers: int
    refused: int
    heard: int
    without_gap: int
    files: tuple[str, ...]

    @property
    def refused_share(self) -> float:
        return self.refused / self.answers

    @property
    def gapless_share(self) -> float:
        return self.without_gap / self.heard

    @property
    def gapless_share_at_least(self) -> float:
        """Wilson's lower limit at 95 %: what so few answers show."""
        n, z, p = self.heard, CONFIDENCE_Z, self.gapless_share
        middle = p + z * z / (2 * n)
        spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - spread) / (1 + z * z / n)

    def meets(self, goal: Goal) -> bool:
        return self.gapless_share >= goal.without_gap and self.refused_share <= goal.refused


class Layout(Settings):
    """A way of placing both stages, by what was measured with it."""

    name: str
    gpu: str
    gpus: int = Field(gt=0)
    """That one such unit takes."""

    gpu_mib: int
    """The most that a GPU held, both stages together."""

    manifest: str
    args: Mapping[str, Any]
    measured: tuple[Measurement, ...]

    @property
    def levels(self) -> list[Level]:
        """From few listeners to many."""
        ordered = sorted(self.measured, key=lambda one: one.listeners)
        groups = groupby(ordered, key=lambda one: one.listeners)
        return [_level(listeners, list(runs)) for listeners, runs in groups]

    def carries(self, goal: Goal) -> Level | None:
        """The highest level that was measured and met the goal; None where none did."""
        return max(
            (level for level in self.levels if level.meets(goal)),
            key=lambda level: level.listeners,
            default=None,
        )

    def fails_at(self, goal: Goal) -> Level | None:
        """The first level above that, which did not; None where none was measured."""
        met = self.carries(goal)
        above = met.listeners if met else 0
        return next((level for level in self.levels if level.listeners > above), None)

    def crosses(self, goal: Goal) -> int | None:
        """Listeners at which straight lines between the two levels cross the goal.

        Refusals and gaps grow faster than the listeners, so what was measured between two levels
        would lie above such a line. None where one of the levels was not measured.
        """
        met, fails = self.carries(goal), self.fails_at(goal)
        if met is None or fails is None:
            return None
        parts = [
            _part(met.refused_share, fails.refused_share, goal.refused),
            _part(1 - met.gapless_share, 1 - fails.gapless_share, 1 - goal.without_gap),
        ]
        return math.floor(met.listeners + min(parts) * (fails.listeners - met.listeners))


@cache
def layouts() -> tuple[Layout, ...]:
    """All that was measured."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return tuple(Layout.model_validate(one) for one in table["layouts"])


def gpus() -> Iterator[str]:
    """The kinds that something is known of."""
    yield from dict.fromkeys(layout.gpu for layout in layouts())


def _part(met: float, failed: float, limit: float) -> float:
    """How much of the way from `met` to `failed` is within the limit; 1 if all of it is."""
    return (limit - met) / (failed - met) if failed > limit else 1.0


def _level(listeners: int, runs: list[Measurement]) -> Level:
    heard = [run.answers - run.refused for run in runs]
    gapless = [round(count * run.without_gap) for count, run in zip(heard, runs, strict=True)]
    return Level(
        listeners=listeners,
        answers=sum(run.answers for run in runs),
        refused=sum(run.refused for run in runs),
        heard=sum(heard),
        without_gap=sum(gapless),
        files=tuple(run.file for run in runs),
    )
