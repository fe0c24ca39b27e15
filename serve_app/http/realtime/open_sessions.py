"""The sessions that are open in this process."""

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import ServerFull

REFUSED_FOR_S = 10.0


class Sessions:
    """Counts open sessions, and says when all of them must end."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._draining = asyncio.Event()
        self._refused_at_s = -math.inf
        self.open = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Room for a session.

        Raises:
            ServerFull: there is none.
        """
        if self._draining.is_set() or self.open >= self._most:
            raise ServerFull()
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def note_refusal(self) -> None:
        """A stage had no room for a guess."""
        self._refused_at_s = time.monotonic()

    def were_refused(self) -> bool:
        """Whether that was lately: then nobody guesses, for those whose turn is over come first."""
        return time.monotonic() - self._refused_at_s < REFUSED_FOR_S

    def drain(self) -> None:
        """End all sessions, and take no new ones: this process is about to stop."""
        self._draining.set()

    async def drained(self) -> None:
        """Wait until all sessions must end."""
        await self._draining.wait()
