"""What waits to be sent on a socket: in order, and of a bounded size."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic_core import to_json

# Some clients take no frame of a mebibyte. Whoever puts events bounds what they hold.
MAX_EVENT_BYTES = 256 << 10
SOUND = "response.output_audio.delta"
HIGH_BYTES = 1 << 20  # what makes sound waits from here on: 16 s of it
FULL_BYTES = 8 << 20  # a client that reads so little has left


class ClientTooSlow(Exception):
    """The client does not read what is sent."""


class Outbox:
    """The events of one session on their way to its client."""

    def __init__(self) -> None:
        self._events: deque[tuple[bool, str]] = deque()  # whether it is sound, and the event
        self._bytes = 0
        self._sending = False  # the first one
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, event: dict[str, Any]) -> None:
        """Send `event` after all before it.

        Raises:
            ClientTooSlow: far too much waits already.
        """
        data = to_json(event)
        if self._bytes + len(data) > FULL_BYTES:
            raise ClientTooSlow
        self._events.append((event["type"] == SOUND, data.decode()))
        self._bytes += len(data)
        self._changed.set()
        if self._bytes > HIGH_BYTES:
            self._room.clear()

    def drop_sound(self) -> None:
        """Forget the sound that waits: nobody is to hear it any more."""
        first = [self._events.popleft()] if self._sending else []
        kept = [(is_sound, text) for is_sound, text in self._events if not is_sound]
        self._events = deque([*first, *kept])
        self._bytes = sum(len(text.encode()) for _, text in self._events)
        if self._bytes <= HIGH_BYTES:
            self._room.set()

    async def room(self) -> None:
        """Wait until the client has read most of what was sent."""
        await self._room.wait()

    async def drain(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Send everything, for ever."""
        while True:
            await self._changed.wait()
            await self.flush(send)

    async def flush(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Send what waits now."""
        while self._events:
            _, text = self._events[0]
            self._sending = True
            try:
                await send(text)
            finally:
                self._sending = False
            self._events.popleft()
            self._bytes -= len(text.encode())
            if self._bytes <= HIGH_BYTES:
                self._room.set()
        self._changed.clear()
