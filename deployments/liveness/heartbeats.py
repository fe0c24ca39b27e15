"""A stage's side of liveness: heartbeats in an answer that has nothing else to say.

The caller's side is `deployments.liveness.watch`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from deployments.errors import EngineFailed
from deployments.liveness.interruptible import Interruptible
from deployments.liveness.ticks import TICK_S, Ticks
from deployments.messages import Heartbeat, SpeechDelta, ThinkerDelta
from deployments.stages import Steps

BEAT_AFTER_S = 0.5  # of silence, and up to a tick more

D = TypeVar("D", bound=ThinkerDelta | SpeechDelta)


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

    def __init__(self, steps: Callable[[], Steps], stuck_s: float) -> None:
        """
        Args:
            steps: of its engine.
            stuck_s: an engine that is in one step for longer is stuck.
        """
        self._steps = steps
        self._stuck_s = stuck_s
        self._ticks = Ticks()

    def among(self, deltas: AsyncGenerator[D], nothing: D) -> "Beating[D]":
        """`deltas`, the first one with a heartbeat, and heartbeats where none comes for long.

        Args:
            nothing: what a heartbeat is put in. It names the replica, and the first delta does so
                too.

        Closing this closes `deltas`. It has to be closed.
        """
        return Beating(deltas, nothing, self.beat, self._ticks)

    def beat(self, alone: bool, late: bool) -> Heartbeat:
        """What is known of the engine now. `late`: the event loop was held up."""
        steps = self._steps()
        # A loop that was held up has not seen yet what its engine did meanwhile.
        stuck = steps.under_way_s > self._stuck_s and not late
        return Heartbeat(steps.made, steps.under_way_s, stuck, alone)


class Beating(Interruptible[D]):
    """The deltas of one answer, and heartbeats among them."""

    def __init__(
        self,
        deltas: AsyncGenerator[D],
        nothing: D,
        beat: Callable[[bool, bool], Heartbeat],
        ticks: Ticks,
    ) -> None:
        super().__init__(deltas)
        self._nothing = nothing
        self._beat = beat
        self._ticks = ticks
        self._late = False  # the latest tick

    def __aiter__(self) -> "Beating[D]":
        self._ticks.join(self.on_tick)
        return self

    def meanwhile(self) -> D:
        self._has_begun = True
        return replace(self._nothing, heartbeat=self._beat(True, self._late))

    def first(self, item: D) -> D:
        beat = self._beat(False, self._late)
        return replace(item, heartbeat=beat, replica=self._nothing.replica)

    def on_tick(self, late: bool) -> None:
        """Interrupt the wait for the next delta where it lasts long."""
        self._late = late
        self.silent_s += TICK_S
        if self.silent_s > BEAT_AFTER_S:  # the first tick came before a whole one had passed
            self.interrupt()

    async def aclose(self) -> None:
        self._ticks.leave(self.on_tick)
        await super().aclose()
