"""When a step starts, and which chunks it takes.

A client plays a stream from its first sample on, and hears a gap (an underrun) if all that was
sent has been played before the next chunk comes. A chunk is due when its stream has no sound yet,
or when the sound that was sent lasts only a little longer. Of the due chunks those go first that
prevent a gap: a first sound that comes a little later is no gap.

A chunk that is not due waits until a step starts for others, and shares it. On a GPU a step of
four rows costs little more than a step of one, and every step slows the Thinker down where it
shares the GPU. An answer that is not streamed has no listener until it is whole: its chunks are
due once they have waited for some time. Before that they never share a step that a listener
waits for.

A stream that was begun by a replica that is lost is made again from its beginning. Its listener
waits, so its chunks are due at once. But a step has few of them, and each has a second's time: a
listener whose sound ends before that goes first, whether his chunk is due or not.

Chunks in the background go last of all; `background` says which of them are here at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from deployments.chunker import AUDIO_TOKEN_S, ChunkSchedule
from deployments.priority import Priority

MARGIN_S = 0.15  # a chunk is due this long before a gap: the time of four steps of `FILL` rows
FILL = 16  # the most rows of a step that a listener waits for: it costs twice a step of one row
QUIET_S = 0.002  # chunks of one Thinker step follow each other more closely than this
HELD_AT_MOST_S = 0.006  # the longest wait of a step with a chunk that is due
PATIENCE_S = 0.03  # the wait of a step without one: some steps of the Thinker
PUT_OFF_S = 0.5  # how long a new stream waits for its first sound where many begin at once
BEGINS_WITHIN_S = 5.0  # an answer without sound by then thinks or calls tools: it needs no step
FIRST_SOUND_S = 1.0  # after this wait a first chunk goes before chunks that prevent a gap
REPLAYS_AT_MOST = FILL  # rows of a step that are made again: other listeners need their share
UNHEARD_DUE_S = 0.5  # an answer that is not streamed: its chunk is due after this wait
UNHEARD_DEADLINE_S = 10.0  # after this wait it goes before chunks that prevent a gap


class Need(NamedTuple):
    """What must be made: chunks, and the seconds of speech in them."""

    chunks: int
    speech_s: float


@dataclass(slots=True, eq=False)
class Listener:
    """What one stream's listener has and needs. Times are of one monotonic clock, in seconds."""

    opened_at_s: float
    schedule: ChunkSchedule = field(default_factory=ChunkSchedule)
    streamed: bool = True  # False: playback starts when the answer is whole
    priority: Priority = "live"  # `background`: nobody waits for the answer, streamed or not
    started_at_s: float | None = None
    sent_s: float = 0.0  # the time that it takes to play all that was sent
    chunks: int = 0  # that were sent
    last_sent_at_s: float | None = None
    step_began_s: float | None = None  # when the step of its newest chunk did
    speed: float = 1.0  # seconds of sound that are played in one
    replays: bool = False  # the sound that is made now was heard before; its listener waits

    @property
    def is_heard(self) -> bool:
        """Whether somebody hears the sound while it is made."""
        return self.streamed and self.priority == "live"

    @property
    def plays_until_s(self) -> float | None:
        """When all that was sent has been played; None before the first sample."""
        return None if self.started_at_s is None else self.started_at_s + self.sent_s

    @property
    def deadline_s(self) -> float:
        """When the next sound must be there."""
        if not self.is_heard:
            return self._last_s + UNHEARD_DEADLINE_S
        if self.replays:
            return self._last_s + FIRST_SOUND_S
        plays_until_s = self.plays_until_s
        return self.opened_at_s + FIRST_SOUND_S if plays_until_s is None else plays_until_s

    @property
    def due_at_s(self) -> float:
        """When a step should start for it: at once without a sound, else before a gap."""
        if not self.is_heard:
            return self._last_s + UNHEARD_DUE_S
        plays_until_s = self.plays_until_s
        return self.opened_at_s if plays_until_s is None else plays_until_s - MARGIN_S

    @property
    def _last_s(self) -> float:
        return self.opened_at_s if self.last_sent_at_s is None else self.last_sent_at_s

    def is_due(self, now_s: float) -> bool:
        """Whether a step should start for it."""
        return now_s >= self.due_at_s

    def needs(self, now_s: float, within_s: float) -> "Need":
        """Which of the next chunks its listener needs in that time.

        A listener without any sound can wait for `PUT_OFF_S`, and needs nothing if there is still
        no sound after `BEGINS_WITHIN_S`. An answer that nobody hears yet needs nothing.
        """
        plays_until_s = self.plays_until_s
        begins = plays_until_s is None and not self.replays
        thinks = begins and now_s > self.opened_at_s + BEGINS_WITHIN_S
        if thinks or not self.is_heard:
            return Need(0, 0.0)
        wanted_at_s = now_s + PUT_OFF_S if begins else max(plays_until_s or 0.0, now_s)
        chunks, tokens = 0, 0
        while wanted_at_s < now_s + within_s:
            wanted_at_s += self.schedule.duration_s(self.chunks + chunks) / self.speed
            tokens += self.schedule.size(self.chunks + chunks)
            chunks += 1
        return Need(chunks, tokens * AUDIO_TOKEN_S)

    def replayed(self, now_s: float, *, replays: bool) -> None:
        """Take note of a chunk that was heard before, and of whether the next one was."""
        self.chunks += 1
        self.last_sent_at_s = now_s
        self.replays = replays

    def sent(self, seconds: float, now_s: float) -> None:
        """Take note of sound that goes out. After a gap playback starts again."""
        self.replays = False
        self.chunks += 1
        self.last_sent_at_s = now_s
        if not seconds or not self.is_heard:
            return
        if self.plays_until_s is None or self.plays_until_s < now_s:
            self.started_at_s, self.sent_s = now_s, 0.0
        self.sent_s += seconds / self.speed


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

    replays = [row.listener for row in waiting if row.listener.replays and row.listener.is_heard]
    again_by_s = min((one.deadline_s for one in replays), default=0.0)

    def urgency(row: W) -> tuple[bool, bool, float]:
        one = row.listener
        goes_first = one.is_due(now_s) or (one.is_heard and one.deadline_s < again_by_s)
        return one.priority != "live", not goes_first, one.deadline_s

    waiting = _without_most_replays(sorted(waiting, key=urgency))
    due = [row for row in waiting if row.listener.is_due(now_s)]
    if not due and len(waiting) < min(max_batch, (open_streams + 1) // 2):
        return []
    if any(row.listener.is_heard for row in due):
        waiting = [row for row in waiting if row.listener.is_heard or row.listener.is_due(now_s)]
    rows = min(max(len(due), FILL), max_batch) if due else max_batch
    return list(waiting[:rows])


def _without_most_replays(rows: Sequence[W]) -> Sequence[W]:
    """`rows`, of which the first `REPLAYS_AT_MOST` at most are made again."""
    replays = [row for row in rows if row.listener.replays]
    if len(replays) <= REPLAYS_AT_MOST:
        return rows
    later = {id(row) for row in replays[REPLAYS_AT_MOST:]}
    return [row for row in rows if id(row) not in later]


def held_until_s(waiting: Sequence[Waiting], since_s: float, now_s: float) -> float:
    """Until when a step that could have started at `since_s` waits for chunks about to come.

    One step of the Thinker makes tokens for many streams, and their chunks arrive one after
    another. Where a chunk is due, the step waits until none has come for `QUIET_S`. The Thinker's
    next steps, some milliseconds later, make tokens for the other streams: where no chunk is due,
    the step waits for them too, `PATIENCE_S`. A second step for the later chunks would cost nearly
    as much as the first.
    """
    if not any(row.listener.is_due(now_s) for row in waiting):
        return since_s + PATIENCE_S
    newest_s = max(row.arrived_s for row in waiting)
    return min(newest_s + QUIET_S, since_s + HELD_AT_MOST_S)


def next_due_s(waiting: Sequence[Waiting]) -> float | None:
    """When the first of `waiting` will be due; None when nothing waits."""
    return min((row.listener.due_at_s for row in waiting), default=None)
