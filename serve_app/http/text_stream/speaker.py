"""Texts that are spoken one after the other, each while it is written."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, field
from functools import partial

from starlette.websockets import WebSocketDisconnect

from deployments.messages import SpeechDelta, Voice
from serve_app.http.errors import log_if_ours
from serve_app.http.text_stream.connection import Closing
from serve_app.http.text_stream.frames import Framed
from serve_app.http.text_stream.types import ErrorFrame, ServerFrame, SessionConfig, Status
from serve_app.http.text_stream.utterance import Utterance, spoken
from serve_app.sound.text_passages import Passage


@dataclass(slots=True)
class Spoken:
    """A text, and how it is to be spoken."""

    index: int
    config: SessionConfig
    voice: Voice
    text: Utterance
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


Ask = Callable[[Spoken, Sequence[Passage]], AsyncGenerator[SpeechDelta]]
Send = Callable[[ServerFrame | bytes], Awaitable[None]]
Counted = Callable[[], AbstractContextManager[None]]


class Speaker:
    """Speaks the texts of one connection in their order."""

    def __init__(
        self, ask: Ask, send: Send, limit_s: float, counted: Counted = nullcontext
    ) -> None:
        """
        Args:
            ask: has passages of a text spoken.
            send: gets all frames that come of it.
            limit_s: how long a quick voice may take for what the model speaks in one go.
            counted: what a text counts for while it is spoken; it may refuse it.
        """
        self._ask, self._send, self._counted = ask, send, counted
        self._limit_s = limit_s
        self._waiting: deque[Spoken] = deque()
        self._more = asyncio.Event()

    @property
    def waiting(self) -> Sequence[Spoken]:
        """The texts that are not spoken to their end, the oldest first."""
        return self._waiting

    @property
    def is_busy(self) -> bool:
        """Whether there is work that does not wait for the client."""
        return bool(self._waiting) and self._waiting[0].text.has_ended

    def add(self, one: Spoken) -> None:
        """Speak one more text, which may not be complete."""
        self._waiting.append(one)
        self._more.set()

    def cancel(self) -> None:
        """Speak nothing more of all that was added."""
        for one in self._waiting:
            one.text.end()
            one.cancelled.set()

    async def run(self) -> None:
        """Speak whatever is added.

        Raises:
            Closing, WebSocketDisconnect, OSError: nothing can be sent any more.
        """
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            await self._speak(self._waiting[0])
            self._waiting.popleft()

    async def _speak(self, one: Spoken) -> None:
        framed = Framed(one.index, one.config)
        status = await self._send_sound(framed, one)
        for frame in framed.ended(status):
            await self._send(frame)

    async def _send_sound(self, framed: Framed, one: Spoken) -> Status:
        """Send the sound of a text, unless it is cancelled; gives how that ended."""
        if one.cancelled.is_set():
            return "cancelled"
        sending = asyncio.create_task(self._send_all(framed, one))
        cancelled = asyncio.create_task(one.cancelled.wait())
        try:
            await asyncio.wait((sending, cancelled), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            cancelled.cancel()
            await asyncio.gather(sending, cancelled, return_exceptions=True)
        return "cancelled" if sending.cancelled() else await self._outcome(sending)

    async def _send_all(self, framed: Framed, one: Spoken) -> None:
        sounds = spoken(one.text, partial(self._ask, one), self._limit_s)
        with self._counted():
            async with aclosing(framed.frames(sounds)) as frames:
                async for frame in frames:
                    await self._send(frame)

    async def _outcome(self, sending: "asyncio.Task[None]") -> Status:
        """How the text was spoken; a failure is sent to the client."""
        error = sending.exception()
        if error is None:
            return "completed"
        if isinstance(error, Closing | WebSocketDisconnect | OSError):
            raise error
        log_if_ours(error)
        await self._send(ErrorFrame.of(error))
        return "failed"
