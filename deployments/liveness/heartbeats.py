"""A stage's side of liveness: heartbeats in an answer that has nothing else to say.

The caller's side is `deployments.liveness.watch`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from deployments.errors import EngineFailed
from deployments.liveness.interruptible import Interruptible
from deployments.liveness.ticks import TICK_S, Ticks
from deployments.messages import Heartbeat, SpeechDelta, ThinkerDelta
from deployments.stages import Steps

BEAT_AFTER_S = 0.5  # of silence, and up to a tick more

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

    def __init__(self, steps: Callable[[], Steps], stuck_s: float) -> None:
        """
        Args:
            steps: of its engine.
            stuck_s: an engine that is in one step for longer is stuck.
        """
        self._steps = steps
        self._stuck_s = stuck_s
        self._ticks = Ticks()

    async def among(self, deltas: AsyncGenerator[D], nothing: D) -> AsyncGenerator[D]:
        """`deltas`, the first one with a heartbeat, and heartbeats where none comes for long.

        Args:
            nothing: what a heartbeat is put in. It names the replica, and the first delta does so
                too.

        Closing this closes `deltas`.
        """
        items = Interruptible(deltas)
        silence = _Silence(items)
        self._ticks.join(silence.on_tick)
        has_beaten = False
        try:
            while True:
                silence.lasts_s = 0.0
                delta = await items.next()
                if delta is None:
                    delta = replace(nothing, heartbeat=self._beat(alone=True, late=silence.late))
                elif not has_beaten:
                    beat = self._beat(alone=False, late=silence.late)
                    delta = replace(delta, heartbeat=beat, replica=nothing.replica)
                has_beaten = True
                yield delta
        except StopAsyncIteration:
            pass
        finally:
            self._ticks.leave(silence.on_tick)
            await items.aclose()

    def _beat(self, *, alone: bool, late: bool) -> Heartbeat:
        steps = self._steps()
        # A loop that was held up has not seen yet what its engine did meanwhile.
        stuck = steps.under_way_s > self._stuck_s and not late
        return Heartbeat(steps.made, steps.under_way_s, stuck, alone)


class _Silence:
    """Interrupts the wait for an answer's next delta where it lasts long."""

    def __init__(self, items: Interruptible[Any]) -> None:
        self.late = False  # the latest tick
        self.lasts_s = 0.0
        self._items = items

    def on_tick(self, late: bool) -> None:
        self.late = late
        self.lasts_s += TICK_S
        if self.lasts_s > BEAT_AFTER_S:  # the first tick came before a whole one had passed
            self._items.interrupt()
