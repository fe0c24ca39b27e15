"""The graph with a span of each answer, as a client gets it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from deployments import tracing
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.traced_attempts import part_of
from serve_app.graph.backend import Backend, ForwardingBackend


class TracedBackend(ForwardingBackend):
    """A `Backend` whose answers are parts of one request's trace."""

    def __init__(self, backend: Backend, traceparent: str) -> None:
        super().__init__(backend)
        self._traceparent = traceparent

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        with tracing.span("answer in text", request.request_id, self._traceparent) as span:
            has_words = False
            async with aclosing(self._backend.text(part_of(request, span.traceparent))) as deltas:
                async for delta in deltas:
                    if not has_words and (delta.text or delta.reasoning):
                        has_words = True
                        span.note("first words")
                    yield delta

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        request_id = request.thinker.request_id
        with tracing.span("answer aloud", request_id, self._traceparent) as span:
            is_heard = False
            async with aclosing(self._backend.speech(part_of(request, span.traceparent))) as deltas:
                async for delta in deltas:
                    if not is_heard and delta.pcm:
                        is_heard = True
                        span.note("first sound")
                    yield delta
