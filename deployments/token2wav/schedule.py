"""When a step starts, and which streams go into it.

A client plays a stream from its first sample on and runs dry when what was sent has been
played. A chunk is due when its stream has no sound yet or runs dry soon; who would run dry goes
first: to wait a little longer for the first sound is no gap. On a GPU four rows cost little more
than one, and Token2Wav may share it with the Thinker, which every step slows down: so what is not
due waits for company, and goes along as soon as a step starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from deployments.chunker import ChunkSchedule

MARGIN_S = 0.15  # a chunk is due so long before its listener runs dry: four steps of `FILL` rows
FILL = 16  # a step that somebody waits for takes up to so many: they cost twice what one does
QUIET_S = 0.002  # chunks of one Thinker step follow each other more closely than this
HELD_AT_MOST_S = 0.006
PATIENCE_S = 0.03  # while nobody is due: some steps of the Thinker
PUT_OFF_S = 0.5  # so long newcomers are counted on to wait where many begin at once
BEGINS_WITHIN_S = 5.0  # who has no sound by then thinks or calls tools, and wants none for now
FIRST_SOUND_S = 1.0  # a newcomer goes behind those who would run dry, unless it waited so long


@dataclass(slots=True, eq=False)
class Listener:
    """What one stream's listener has and needs. Times are of one monotonic clock, in seconds."""

    opened_at_s: float
    schedule: ChunkSchedule = field(default_factory=ChunkSchedule)
    started_at_s: float | None = None
    sent_s: float = 0.0
    chunks: int = 0  # that were sent

    @property
    def plays_until_s(self) -> float | None:
        """When all that was sent has been played; None before the first sample."""
        return None if self.started_at_s is None else self.started_at_s + self.sent_s

    @property
    def deadline_s(self) -> float:
        """When the next sound must be there."""
        plays_until_s = self.plays_until_s
        return self.opened_at_s + FIRST_SOUND_S if plays_until_s is None else plays_until_s

    @property
    def due_at_s(self) -> float:
        """When a step should start for it: at once without a sound, else before it runs dry."""
        plays_until_s = self.plays_until_s
        return self.opened_at_s if plays_until_s is None else plays_until_s - MARGIN_S

    def is_due(self, now_s: float) -> bool:
        """Whether a step should start for it."""
        return now_s >= self.due_at_s

    def chunks_wanted(self, now_s: float, within_s: float) -> int:
        """How many of the next chunks its listener needs in that time.

        One who has heard nothing yet is put off by `PUT_OFF_S`, and wants nothing any more if
        there is no sound after `BEGINS_WITHIN_S`.
        """
        plays_until_s = self.plays_until_s
        if plays_until_s is None and now_s > self.opened_at_s + BEGINS_WITHIN_S:
            return 0
        wanted_at_s = now_s + PUT_OFF_S if plays_until_s is None else max(plays_until_s, now_s)
        wanted = 0
        while wanted_at_s < now_s + within_s:
            wanted_at_s += self.schedule.duration_s(self.chunks + wanted)
            wanted += 1
        return wanted

    def sent(self, seconds: float, now_s: float) -> None:
        """Take note of sound that goes out. A listener who ran dry begins anew."""
        self.chunks += 1
        if not seconds:
            return
        if self.plays_until_s is None or self.plays_until_s < now_s:
            self.started_at_s, self.sent_s = now_s, 0.0
        self.sent_s += seconds


class Waiting(Protocol):
    """A chunk that waits for a step."""

    @property
    def listener(self) -> Listener: ...
    @property
    def arrived_s(self) -> float: ...


W = TypeVar("W", bound=Waiting)


def next_batch(waiting: Sequence[W], now_s: float, *, open_streams: int, max_batch: int) -> list[W]:
    """The chunks of a step that starts now, most urgent first; none if it is better to wait.

    A step starts when a chunk is due, or half of the open streams wait, or a batch is full: so
    the only open stream never waits.
    """

    def urgency(row: W) -> tuple[bool, float]:
        return not row.listener.is_due(now_s), row.listener.deadline_s

    by_urgency = sorted(waiting, key=urgency)
    due = sum(row.listener.is_due(now_s) for row in by_urgency)
    if not due and len(waiting) < min(max_batch, (open_streams + 1) // 2):
        return []
    return by_urgency[: min(max(due, FILL), max_batch) if due else max_batch]


def held_until_s(waiting: Sequence[Waiting], since_s: float, now_s: float) -> float:
    """Until when a step that could have started at `since_s` is held for those about to come.

    One step of the Thinker makes tokens for many streams, whose chunks then arrive one after
    another: where a chunk is due, until they have ceased to for `QUIET_S`. The Thinker's next
    steps, some milliseconds later, make tokens for the others: where none is due, `PATIENCE_S`. A
    second step for those left behind would cost nearly as much as the first.
    """
    if not any(row.listener.is_due(now_s) for row in waiting):
        return since_s + PATIENCE_S
    newest_s = max(row.arrived_s for row in waiting)
    return min(newest_s + QUIET_S, since_s + HELD_AT_MOST_S)


def next_due_s(waiting: Sequence[Waiting]) -> float | None:
    """When the first of `waiting` will be due; None when nothing waits."""
    return min((row.listener.due_at_s for row in waiting), default=None)
