"""A turn of the Thinker as a part of its trace, and what vLLM knows of its times."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise
from typing import Any

from deployments import tracing
from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.stages import ThinkerEngine

PHASES = ("queue", "prefill", "decode")


def traced_turn(request: ThinkerRequest, engine: ThinkerEngine) -> AsyncGenerator[ThinkerDelta]:
    """The engine's answer, with a span where something is traced."""
    if not tracing.is_on():
        return engine.generate(request)

    def answer(span: tracing.Span) -> AsyncGenerator[ThinkerDelta]:
        span.describe(reply=request.reply, goes_on=bool(request.made))
        return engine.generate(replace(request, trace=span.traceparent))

    return tracing.traced("Thinker", request.request_id, request.trace, answer)


async def timed(
    outputs: AsyncGenerator[Any], request_id: str, traceparent: str
) -> AsyncGenerator[Any]:
    """vLLM's outputs of one prompt; its queue, prefill and decode become parts of `traceparent`."""
    times: Any = None
    async with aclosing(outputs):
        try:
            async for output in outputs:
                times = output.metrics
                yield output
        finally:
            if traceparent and times is not None:
                _record(times, request_id, traceparent)


def _record(times: Any, request_id: str, traceparent: str) -> None:
    """Spans of what vLLM's `RequestStateStats` have, on the clock `time.monotonic`."""
    marks = (times.queued_ts, times.scheduled_ts, times.first_token_ts, times.last_token_ts)
    for name, (began_s, ended_s) in zip(PHASES, pairwise(marks), strict=True):
        if began_s and ended_s:
            tracing.record(name, request_id, traceparent, began_s, ended_s)
