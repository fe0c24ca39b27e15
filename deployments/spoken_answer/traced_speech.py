"""A spoken answer in Token2Wav as a part of its trace: its place, its first chunk, that one's step.

Only what comes before the first sound has spans of its own.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from deployments import tracing
from deployments.chunker import Chunk, ChunkSchedule
from deployments.messages import (
    SpeechDelta,
    SpeechRequest,
    SpokenSoFar,
    ThinkerDelta,
    ThinkerRequest,
    Voice,
)
from deployments.priority import Priority
from deployments.spoken_answer.answer_aloud import answer_aloud
from deployments.spoken_answer.long_texts import Think
from deployments.stages import SpeechStream, StreamOpener


def traced_aloud(
    request: SpeechRequest, opener: StreamOpener, think: Think
) -> AsyncGenerator[SpeechDelta]:
    """As `answer_aloud`, with spans where something is traced."""
    if not tracing.is_on():
        return answer_aloud(request, opener, think)
    thinker = request.thinker

    def aloud(span: tracing.Span) -> AsyncGenerator[SpeechDelta]:
        span.describe(goes_on=request.so_far is not None)

        def think_within(asked: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
            return think(replace(asked, trace=span.traceparent))

        inner = TracedOpener(opener, thinker.request_id, span)
        return _noted(answer_aloud(request, inner, think_within), span)

    return tracing.traced("Token2Wav", thinker.request_id, thinker.trace, aloud)


async def _noted(
    deltas: AsyncGenerator[SpeechDelta], span: tracing.Span
) -> AsyncGenerator[SpeechDelta]:
    """`deltas`; the span notes the first sound among them."""
    is_silent = True
    async with aclosing(deltas):
        async for delta in deltas:
            if is_silent and delta.pcm:
                is_silent = False
                span.note("first sound")
            yield delta


class TracedOpener:
    """A `StreamOpener` whose streams have a span of their opening and of their first chunk."""

    def __init__(self, opener: StreamOpener, request_id: str, span: tracing.Span) -> None:
        self._opener = opener
        self._request_id = request_id
        self._span = span

    async def open(
        self,
        voice: Voice,
        *,
        streamed: bool = True,
        priority: Priority = "live",
        so_far: SpokenSoFar | None = None,
    ) -> "TracedStream":
        with tracing.span("open the stream", self._request_id, self._span.traceparent):
            stream = await self._opener.open(
                voice, streamed=streamed, priority=priority, so_far=so_far
            )
        return TracedStream(stream, self._request_id, self._span)


class TracedStream:
    """A `SpeechStream` whose first chunk is a span: its wait for a step, and the step."""

    def __init__(self, stream: SpeechStream, request_id: str, span: tracing.Span) -> None:
        self._stream = stream
        self._request_id = request_id
        self._span = span
        self._has_begun = False

    @property
    def schedule(self) -> ChunkSchedule:
        return self._stream.schedule

    @property
    def step_began_s(self) -> float | None:
        return self._stream.step_began_s

    def settle_schedule(self) -> ChunkSchedule:
        return self._stream.settle_schedule()

    def play_at(self, speed: float) -> None:
        self._stream.play_at(speed)

    async def synthesize(self, chunk: Chunk) -> bytes:
        if self._has_begun:
            return await self._stream.synthesize(chunk)
        self._has_begun = True
        self._span.note("first tokens")
        came_s = time.monotonic()
        pcm = await self._stream.synthesize(chunk)
        began_s = self.step_began_s or came_s
        ended_s = time.monotonic()
        parent = self._span.traceparent
        tracing.record("wait for a step", self._request_id, parent, came_s, began_s)
        tokens = len(chunk.tokens)
        tracing.record("first step", self._request_id, parent, began_s, ended_s, tokens=tokens)
        return pcm

    def close(self) -> None:
        self._stream.close()
