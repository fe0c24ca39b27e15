"""A clock that ticks for all streams of a process, with one timer."""

import asyncio
from collections.abc import Callable

TICK_S = 0.25

OnTick = Callable[[bool], None]
"""Called at every tick, with whether it is late: the event loop was held up meanwhile."""


class Ticks:
    """Calls whoever joined, every quarter of a second, as long as there is anybody."""

    def __init__(self) -> None:
        self._joined: set[OnTick] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = 0.0

    def join(self, on_tick: OnTick) -> None:
        self._joined.add(on_tick)
        if self._timer is None:
            self._wait(asyncio.get_running_loop())

    def leave(self, on_tick: OnTick) -> None:
        """Be called no more. The last one leaves the timer for one tick to whoever joins next."""
        self._joined.discard(on_tick)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last_s = loop.time()
        self._timer = loop.call_later(TICK_S, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - self._last_s > 2 * TICK_S
        self._timer = None
        if self._joined:
            self._wait(loop)
        for on_tick in tuple(self._joined):
            on_tick(late)
