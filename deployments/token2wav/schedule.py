"""Which streams go into the next step: those whose listeners would hear a gap first.

A client plays a stream from its first sample on; it runs dry when what was sent has been
played. A stream is pressing when it has no sound yet or runs dry within `PRESSING_S`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

PRESSING_S = 1.0  # two steps of a full batch on a busy GPU, and what the network adds
RELAXED_BATCH = 8  # with nobody pressing a step stays short, for whoever comes next


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


def next_batch(waiting: Sequence[W], now_s: float, max_batch: int) -> list[W]:
    """The chunks of the next step, most urgent first.

    If somebody is pressing, all who are go, and the rest fills the batch up to the next power
    of two, which a captured step computes anyway. Otherwise a short step takes the most urgent.
    """
    by_urgency = sorted(waiting, key=lambda row: row.playback.dry_at_s)
    pressing = sum(row.playback.dry_at_s - now_s < PRESSING_S for row in by_urgency)
    size = 1 << (pressing - 1).bit_length() if pressing else RELAXED_BATCH
    return by_urgency[: min(size, max_batch)]
