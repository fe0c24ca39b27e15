"""When a step starts, and which streams go into it.

A client plays a stream from its first sample on and runs dry when what was sent has been
played. A chunk is due when its stream has no sound yet or runs dry soon. On a GPU one row costs
nearly as much as eight, and Token2Wav may share it with the Thinker, which every step slows
down: so what is not due waits for company, and goes along as soon as a step starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

MARGIN_S = 0.15  # a chunk is due so long before its listener runs dry: four full steps
FILL = 16  # a step that somebody waits for takes up to so many: they cost twice what one does


@dataclass(slots=True)
class Playback:
    """When one stream's listener runs dry. Times are of one monotonic clock, in seconds."""

    opened_at_s: float
    started_at_s: float | None = None
    sent_s: float = 0.0

    @property
    def dry_at_s(self) -> float:
        """Before the first sample: when the stream was opened, so the oldest comes first."""
        if self.started_at_s is None:
            return self.opened_at_s
        return self.started_at_s + self.sent_s

    def sent(self, seconds: float, now_s: float) -> None:
        """Take note of sound that goes out. A listener who ran dry begins anew."""
        if self.started_at_s is None or self.dry_at_s < now_s:
            self.started_at_s, self.sent_s = now_s, 0.0
        self.sent_s += seconds

    def is_late(self, now_s: float) -> bool:
        """Whether the listener has run dry, and hears the gap now."""
        return self.started_at_s is not None and self.dry_at_s < now_s


class Waiting(Protocol):
    """A chunk that waits for a step."""

    @property
    def playback(self) -> Playback: ...


W = TypeVar("W", bound=Waiting)


def next_batch(waiting: Sequence[W], now_s: float, *, open_streams: int, max_batch: int) -> list[W]:
    """The chunks of a step that starts now, most urgent first; none if it is better to wait.

    A step starts when a chunk is due, or half of the open streams wait, or a batch is full:
    so a lone stream never waits.
    """
    by_urgency = sorted(waiting, key=lambda row: row.playback.dry_at_s)
    due = sum(row.playback.dry_at_s - now_s < MARGIN_S for row in by_urgency)
    if not due and len(waiting) < min(max_batch, (open_streams + 1) // 2):
        return []
    return by_urgency[: min(max(due, FILL), max_batch) if due else max_batch]


def next_due_s(waiting: Sequence[Waiting]) -> float | None:
    """When the first of `waiting` will be due; None when nothing waits."""
    return min((row.playback.dry_at_s - MARGIN_S for row in waiting), default=None)
