"""A stream that goes on where a replica was lost: exactly where it broke, or not at all.

The caller of a stage keeps what the next replica needs: the ids that were made, and how much sound
was received. One attempt is one generator. What a lost replica still says is said to nobody, and a
delta counts only at the offset that is expected. So nothing is repeated and nothing is left out.
"""

import asyncio
import random
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, TypeVar

from pydantic import Field

from deployments.chunker import ChunkSchedule
from deployments.errors import EngineFailed, EngineLost
from deployments.messages import (
    PartSoFar,
    SpeechDelta,
    SpeechRequest,
    SpokenSoFar,
    ThinkerDelta,
    ThinkerRequest,
    Usage,
)
from deployments.settings import Settings

WAITS_S = (0.0, 0.1, 0.5)  # before the first further attempt, the second…; by chance half more
BYTES_PER_SAMPLE = 2

D = TypeVar("D", ThinkerDelta, SpeechDelta)
Received = TypeVar("Received", ThinkerDelta, SpeechDelta, contravariant=True)
Sleep = Callable[[float], Awaitable[None]]


class Recovery(Settings):
    """What is done for a stream that lost its replica."""

    tries: Annotated[int, Field(ge=0)] = 3
    """How often it may go on with another, over both stages together; 0: it fails at once."""

    patience_s: Annotated[float, Field(gt=0)] = 10.0
    """How long another replica may take to begin. One that is full or starting counts as well.
    A first replica that does not even send a heartbeat in that time gives way to another one.

    One that sends heartbeats has begun: it may take as long as it needs for its first sound."""

    silence_s: Annotated[float, Field(ge=1.0)] = 2.0
    """A replica that is silent for so long hangs, and its streams go on with another one. Two
    heartbeats are up to 0.75 s apart."""

    stuck_s: Annotated[float, Field(ge=0.5)] | None = None
    """So does a replica whose engine has been in one step for so long, and it is replaced.

    None: 2 s on a GPU, whose steps take milliseconds, and 60 s on a CPU."""


class OutOfStep(EngineFailed):
    """A delta that does not begin where the one before it ended."""

    def __init__(self, offset: int, expected: int) -> None:
        super().__init__(f"a part of the answer came at {offset} where {expected} was next")


class NotBegun(EngineLost):
    """Nothing was heard of a replica in the time that it had to begin."""

    def __init__(self, within_s: float | None) -> None:
        super().__init__(f"no replica began within {within_s} s")


class Tries:
    """How often a stream may still go on elsewhere, over all stages together."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.spent = 0

    def spend(self) -> None:
        self.left -= 1
        self.spent += 1

    def leave(self, left: int) -> None:
        """Have no more than that left: others have been spent elsewhere."""
        self.left = min(self.left, left)


class Progress(Protocol[Received]):
    """What was received of one stream."""

    @property
    def can_go_on(self) -> bool:
        """Whether another replica can say what comes next."""

    def note(self, delta: Received) -> None:
        """Take note of which replica answers; heartbeats say it too."""

    def accept(self, delta: Received) -> None:
        """Take note of the next delta. Raises OutOfStep where it is not the next."""

    def lose(self) -> None:
        """Take note that the replica is lost: the next request avoids it."""


class Avoided:
    """The replicas that an answer lost; one that was lost before its first delta has no name."""

    def __init__(self, avoid: tuple[str, ...]) -> None:
        self.names = avoid
        self._answers = ""

    def note(self, delta: ThinkerDelta | SpeechDelta) -> None:
        """Take note of which replica answers."""
        self._answers = delta.replica or self._answers

    def lose(self) -> None:
        if self._answers:
            self.names = (*self.names, self._answers)
        self._answers = ""


class WrittenProgress:
    """What was received of an answer of the Thinker's."""

    def __init__(self, request: ThinkerRequest) -> None:
        self._request = request
        self._made = array("i", request.made)
        self._avoided = Avoided(request.avoid)
        self._has_all = True
        self._goes_on = bool(request.made)

    @property
    def can_go_on(self) -> bool:
        return self._has_all

    def request(self) -> ThinkerRequest:
        """What a replica is asked: to begin, or to go on."""
        self._goes_on = bool(self._made)
        made = tuple(self._made)
        return replace(self._request, made=made, beats=True, avoid=self._avoided.names)

    def lose(self) -> None:
        self._avoided.lose()

    def note(self, delta: ThinkerDelta) -> None:
        self._avoided.note(delta)

    def accept(self, delta: ThinkerDelta) -> None:
        _require_next(delta.offset, len(self._made), goes_on=self._goes_on)
        self._made.extend(delta.made)
        shows = delta.text or delta.reasoning or delta.audio_tokens or delta.tool_calls
        if shows and not delta.made:
            self._has_all = False


class SpokenProgress:
    """What was received of a spoken answer, in one part or several."""

    def __init__(self, request: SpeechRequest, tries: Tries) -> None:
        self._request = request
        self._tries = tries
        self._avoided = Avoided(request.avoid)
        self._schedule: ChunkSchedule | None = None
        self._parts = [(_ids(), _ids())]  # made, audio tokens
        self._usages: list[Usage | None] = [None]  # up to the end of each part, once it is known
        self._samples = 0
        self._has_all = True
        self._goes_on = False

    @property
    def can_go_on(self) -> bool:
        return self._has_all and (self._schedule is not None or not self._has_begun)

    @property
    def _has_begun(self) -> bool:
        return bool(self._samples or self._parts[0][0])

    def request(self) -> SpeechRequest:
        """What a replica is asked: to begin, or to go on."""
        self._goes_on = self._schedule is not None and self._has_begun
        avoid = self._avoided.names
        asked = replace(self._request, tries=self._tries.left, beats=True, avoid=avoid)
        if self._schedule is None or not self._has_begun:
            return asked
        parts = tuple(PartSoFar(tuple(made), tuple(audio)) for made, audio in self._parts)
        usage = self._usages[-2] if len(parts) > 1 else None
        so_far = SpokenSoFar(self._schedule, parts, self._samples, usage)
        return replace(asked, so_far=so_far)

    def lose(self) -> None:
        self._avoided.lose()

    def note(self, delta: SpeechDelta) -> None:
        self._avoided.note(delta)

    def accept(self, delta: SpeechDelta) -> None:
        _require_next(delta.offset, self._samples, goes_on=self._goes_on)
        self._schedule = self._schedule or delta.schedule
        self._samples += len(delta.pcm) // BYTES_PER_SAMPLE
        while len(self._parts) <= delta.part:
            self._parts.append((_ids(), _ids()))
            self._usages.append(None)
        made, audio = self._parts[delta.part]
        if delta.made_offset is not None:
            _require_next(delta.made_offset, len(made), goes_on=False)
        made.extend(delta.made)
        audio.extend(delta.audio_tokens)
        if delta.usage is not None:
            self._usages[delta.part] = delta.usage
        if delta.tries is not None:
            self._tries.leave(delta.tries)
        shows = delta.text or delta.reasoning or delta.audio_tokens or delta.tool_calls
        if (shows and not delta.made) or (delta.pcm and delta.offset is None):
            self._has_all = False


def _ids() -> "array[int]":
    """Ids of an answer, 4 bytes each: 33 s of speech are 7 kB."""
    return array("i")


def _require_next(offset: int | None, expected: int, *, goes_on: bool) -> None:
    """Raise OutOfStep unless a delta begins where the one before it ended.

    A replica of a version that knows no offsets cannot go on: it begins anew.
    """
    if offset is None and goes_on:
        raise OutOfStep(0, expected)
    if offset is not None and offset != expected:
        raise OutOfStep(offset, expected)


@dataclass(frozen=True, slots=True)
class Policy:
    """When a stream goes on, and how long it is waited for."""

    is_lost: Callable[[BaseException], bool]
    """Whether an error says that the replica is lost, and not that the request is at fault."""

    note: Callable[[BaseException, Tries], None]
    """Gets what was lost, before the stream goes on."""

    patience_s: float
    """As `Recovery.patience_s`."""

    beats: Callable[[], bool] = lambda: False
    """Whether the stage's replicas are known to send heartbeats: then the first one that an answer
    is asked of has no more time to begin than any other."""

    sleep: Sleep = asyncio.sleep
    chance: Callable[[], float] = random.random  # in [0, 1)


async def resumed(
    ask: Callable[[], AsyncGenerator[D]],
    progress: Progress[D],
    tries: Tries,
    policy: Policy,
) -> AsyncGenerator[D]:
    """The deltas of one answer, whatever replicas they come from.

    Args:
        ask: begins an attempt, by what `progress` knows. Closing it aborts it.

    Raises:
        OutOfStep: a replica said what was not next.
        NotBegun: no replica could be found to go on.
        EngineFailed: a replica ended without a `finish_reason`, and none could go on.
        whatever an attempt raised, if it is no loss, or if no other attempt may be made.
    """
    while True:
        lost: BaseException
        try:
            async with aclosing(ask()) as deltas:
                patience_s = policy.patience_s if tries.spent or policy.beats() else None
                async for delta in _begun_within(deltas, patience_s):
                    progress.note(delta)
                    if delta.heartbeat is not None and delta.heartbeat.alone:
                        continue
                    progress.accept(delta)
                    yield delta
                    if delta.finish_reason is not None:
                        return
            lost = EngineFailed("the answer was cut short")
        except asyncio.CancelledError as error:
            # One that nobody asked this task for is a replica's, which was stopped.
            if is_cancelled():
                raise
            lost = EngineFailed("the answer was cut short")
            lost.__cause__ = error
        except NotBegun as error:
            if not tries.spent:
                continue  # nothing is lost: there may be no replica, and no other way than to ask
            lost = error
        except Exception as error:
            if not policy.is_lost(error):
                raise
            lost = error
        if not (tries.left > 0 and progress.can_go_on):
            raise lost
        progress.lose()
        wait_s = WAITS_S[min(tries.spent, len(WAITS_S) - 1)]
        tries.spend()
        policy.note(lost, tries)
        await policy.sleep(wait_s * (1 + policy.chance() / 2))


def is_cancelled() -> bool:
    """Whether somebody has asked this task to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _begun_within(deltas: AsyncGenerator[D], within_s: float | None) -> AsyncGenerator[D]:
    """`deltas`, the first of which comes within that time, be it a heartbeat.

    Raises NotBegun where it does not.
    """
    try:
        async with asyncio.timeout(within_s) as limit:
            first = await anext(deltas, None)
    except TimeoutError:
        if limit.expired():
            raise NotBegun(within_s) from None
        raise  # a replica's own
    if first is not None:
        yield first
        async for delta in deltas:
            yield delta
