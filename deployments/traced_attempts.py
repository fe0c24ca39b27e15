"""The attempts of one answer at a stage, each a span that follows those before it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from opentelemetry.trace import SpanKind

from deployments import tracing
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest

R = TypeVar("R", ThinkerRequest, SpeechRequest)
D = TypeVar("D", ThinkerDelta, SpeechDelta)


class Attempts:
    """Those of one answer, whose request may say of which trace it is."""

    def __init__(self, stage: str, request: ThinkerRequest) -> None:
        self.stage = stage
        self.request_id = request.request_id
        self._parent = request.trace
        self._before: list[str] = []

    def traced(self, request: R, answer: Callable[[R], AsyncGenerator[D]]) -> AsyncGenerator[D]:
        """The next attempt: what `answer` gives, when it is asked for a part of this span."""
        return self._traced(request, answer) if tracing.is_on() else answer(request)

    async def _traced(
        self, request: R, answer: Callable[[R], AsyncGenerator[D]]
    ) -> AsyncGenerator[D]:
        with tracing.span(
            f"ask {self.stage}",
            self.request_id,
            self._parent,
            kind=SpanKind.CLIENT,
            earlier=self._before,
            attempt=len(self._before) + 1,
        ) as span:
            self._before.append(span.traceparent)
            async with aclosing(answer(part_of(request, span.traceparent))) as deltas:
                async for delta in deltas:
                    if delta.replica:
                        span.describe(replica=delta.replica)
                    yield delta


def part_of(request: R, traceparent: str) -> R:
    """`request` as a part of that span."""
    if isinstance(request, SpeechRequest):
        return replace(request, thinker=replace(request.thinker, trace=traceparent))
    return replace(request, trace=traceparent)
