"""Whether the graph can serve, remembered between requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from deployments.errors import NotReady

REHEARSAL_WITHIN_S = 60.0  # of all stages being there; a CPU makes a few real tokens a second


class Readiness:
    """Remembers what `ask_graph` said last, so that a request does not wait for the answer.

    Until it was ready once, every request asks; then the answer is renewed beside the requests.
    Once it is ready, a `rehearsal` that is not over holds up everyone but itself.
    """

    def __init__(
        self, ask_graph: Callable[[], Awaitable[bool]], renew_after_s: float = 1.0
    ) -> None:
        self._ask_graph = ask_graph
        self._renew_after_s = renew_after_s
        self._ready = False
        self._asked_at = 0.0
        self._renewal: asyncio.Task[None] | None = None
        self.rehearsal: asyncio.Task[None] | None = None

    async def ask(self) -> bool:
        """Ask the graph now."""
        ready = await self._renew()
        if ready:
            await self._rehearsed()
        return ready

    async def require(self) -> None:
        """Raise NotReady unless the graph is, as far as is known."""
        if not self._ready and not await self._renew():
            raise NotReady
        await self._rehearsed()
        stale = time.monotonic() - self._asked_at > self._renew_after_s
        if stale and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._renew_soon())

    async def _rehearsed(self) -> None:
        rehearsal = self.rehearsal
        if rehearsal is None or rehearsal.done() or rehearsal is asyncio.current_task():
            return
        await asyncio.wait([rehearsal], timeout=REHEARSAL_WITHIN_S)

    async def _renew_soon(self) -> None:
        # Not now: asking takes 30 ms of two busy cores, and the request at hand wants them.
        await asyncio.sleep(self._renew_after_s / 4)
        await self._renew()

    async def _renew(self) -> bool:
        self._ready = await self._ask_graph()
        self._asked_at = time.monotonic()
        return self._ready
