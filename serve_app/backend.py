"""What the HTTP surface knows of the graph, and an implementation without Ray."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from deployments.errors import StepAudioError, UnsupportedRequest
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.pipeline import Synthesizer, ThinkerEngine, speak

REHEARSAL_WITHIN_S = 60.0  # of all stages being there; a CPU makes a few real tokens a second


class NotReady(StepAudioError):
    """No replica is ready yet, or none is left; the request may be sent again."""

    def __init__(self) -> None:
        super().__init__("the server is starting; try again later")


class Backend(Protocol):
    """The graph behind the HTTP surface. Closing an answer's generator frees all it holds."""

    def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        """Answer in text. The last delta carries a `finish_reason`."""

    def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        """Answer aloud. The last delta carries a `finish_reason`.

        Raises UnsupportedRequest on a server that has no Token2Wav.
        """

    async def voices(self) -> tuple[str, ...]:
        """Names of the configured voices, the default one first; none without Token2Wav."""

    async def ready(self) -> bool:
        """Whether any request sent now would be served."""

    async def ready_for_text(self) -> bool:
        """Whether one that is answered in text would be."""


class EngineBackend:
    """Both stages in this process, joined as the graph joins them."""

    def __init__(self, thinker: ThinkerEngine, synthesizer: Synthesizer | None) -> None:
        self._thinker = thinker
        self._synthesizer = synthesizer
        self._started = False

    async def start(self) -> None:
        """Start the engines; `ready` once they have."""
        await self._thinker.start()
        if self._synthesizer is not None:
            await self._synthesizer.start()
        self._started = True

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        async with aclosing(self._thinker.generate(request)) as deltas:
            async for delta in deltas:
                yield delta

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        if self._synthesizer is None:
            raise UnsupportedRequest("this server answers in text only: it runs no Token2Wav")
        stream = await self._synthesizer.open(request.voice)
        try:
            thinker_request = replace(request.thinker, chunks=stream.schedule)
            async with (
                aclosing(self._thinker.generate(thinker_request)) as deltas,
                aclosing(speak(deltas, stream)) as spoken,
            ):
                async for delta in spoken:
                    yield delta
        finally:
            stream.close()

    async def voices(self) -> tuple[str, ...]:
        return self._synthesizer.voices() if self._synthesizer is not None else ()

    async def ready(self) -> bool:
        return self._started

    async def ready_for_text(self) -> bool:
        return self._started


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
