"""A stage's side of liveness: heartbeats in an answer that has nothing else to say.

The caller's side is `deployments.watch`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from deployments.errors import EngineFailed
from deployments.messages import Heartbeat, SpeechDelta, ThinkerDelta
from deployments.stages import Steps
from deployments.ticks import TICK_S, Ticks

BEAT_AFTER_S = 0.5  # of silence, and up to a tick more
MOST_READ_AHEAD = 2  # deltas that a slow caller has not taken: a second or two of sound

D = TypeVar("D", ThinkerDelta, SpeechDelta)


class Engine(Protocol):
    """What both stages' engines have."""

    def steps(self) -> Steps: ...

    async def check_health(self) -> None: ...


async def require_health(engine: Engine, stuck_s: float) -> None:
    """Raise EngineFailed where an engine says so, or has been in one step for too long.

    An engine that is asked something for its health check is given as much time to answer.
    """
    steps = engine.steps()
    if steps.under_way_s > stuck_s:
        raise EngineFailed(f"the engine has been in one step for {steps.under_way_s:.1f} s")
    try:
        async with asyncio.timeout(stuck_s):
            await engine.check_health()
    except TimeoutError:
        raise EngineFailed(f"the engine did not answer within {stuck_s:g} s") from None


class Heartbeats:
    """The heartbeats of one replica."""

    def __init__(self, replica: str, steps: Callable[[], Steps], stuck_s: float) -> None:
        """
        Args:
            replica: names it to those who call it.
            steps: of its engine.
            stuck_s: an engine that is in one step for longer is stuck.
        """
        self._replica = replica
        self._steps = steps
        self._stuck_s = stuck_s
        self._ticks = Ticks()

    async def among(self, deltas: AsyncGenerator[D], nothing: D) -> AsyncGenerator[D]:
        """`deltas`, the first one with a heartbeat, and heartbeats where none comes for long.

        Args:
            nothing: what a heartbeat is put in.

        Closing this closes `deltas`.
        """
        line: _Line[D] = _Line()
        reading = asyncio.create_task(line.read(deltas))
        self._ticks.join(line.on_tick)
        has_beaten = False
        try:
            while (delta := await line.take()) is not None or not line.is_over:
                if delta is None:
                    delta = replace(nothing, heartbeat=self._beat(alone=True, late=line.late))
                elif not has_beaten:
                    delta = replace(delta, heartbeat=self._beat(alone=False, late=line.late))
                has_beaten = True
                yield delta
            line.require_no_error()
        finally:
            self._ticks.leave(line.on_tick)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _beat(self, *, alone: bool, late: bool) -> Heartbeat:
        steps = self._steps()
        # A loop that was held up has not seen yet what its engine did meanwhile.
        stuck = steps.under_way_s > self._stuck_s and not late
        return Heartbeat(self._replica, steps.made, steps.under_way_s, stuck, alone)


class _Line(Generic[D]):
    """Deltas on their way from the task that reads them to the one that sends them."""

    def __init__(self) -> None:
        self.late = False  # the latest tick
        self._deltas: deque[D] = deque()
        self._has_ended = False
        self._error: BaseException | None = None
        self._waiting: asyncio.Future[None] | None = None  # for a delta, or for a tick
        self._waited_s = 0.0
        self._room: asyncio.Future[None] | None = None

    async def read(self, deltas: AsyncGenerator[D]) -> None:
        """Put all of `deltas` on the line, and how they ended."""
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    self._deltas.append(delta)
                    self._wake()
                    if len(self._deltas) >= MOST_READ_AHEAD:
                        self._room = asyncio.get_running_loop().create_future()
                        await self._room
        except BaseException as error:  # a cancellation by somebody else, too
            self._error = error
        self._has_ended = True
        self._wake()

    async def take(self) -> D | None:
        """The next delta. None where none came for long, and where all have been taken."""
        if not self._deltas and not self._has_ended:
            self._waited_s = 0.0
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if not self._deltas:
            return None
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return self._deltas.popleft()

    @property
    def is_over(self) -> bool:
        """Whether all deltas have been taken."""
        return self._has_ended and not self._deltas

    def require_no_error(self) -> None:
        """Raise what the deltas ended with, if not by themselves."""
        if self._error is not None:
            raise self._error

    def on_tick(self, late: bool) -> None:
        self.late = late
        self._waited_s += TICK_S
        if self._waited_s > BEAT_AFTER_S:  # the first tick came before a whole one had passed
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
