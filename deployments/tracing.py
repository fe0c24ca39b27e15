"""One trace of a request over all processes: OpenTelemetry's spans, each with the request's id.

Ray Serve's `tracing_config` sets up OpenTelemetry in every replica (docs/tracing.md). Without it
there are no spans, and a request has the time of one question whether there are. A span's parent
is handed on by name, as W3C's `traceparent`, and never through the task's context: an answer is an
async generator, and what it put into the context would stay there for its caller.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Protocol, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, ProxyTracerProvider, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACER = "step_audio2"
REQUEST_ID = "step_audio2.request_id"
END = "step_audio2.end"  # of a span that ended neither well nor with an error
TRACEPARENT = "traceparent"
NS_PER_S = 1_000_000_000

Attribute = str | bool | int | float
D = TypeVar("D")


class Span(Protocol):
    """A part of a request that takes time."""

    @property
    def traceparent(self) -> str:
        """What a part of this part has as its parent; "" where nothing is traced."""

    def note(self, event: str) -> None:
        """Something happens now."""

    def describe(self, **attributes: Attribute) -> None:
        """Add what is known by now."""

    def name(self, name: str) -> None:
        """What it is called, once that is known."""


class Untraced:
    """The span where nothing is traced; a parent that came from outside is handed on."""

    def __init__(self, traceparent: str = "") -> None:
        self.traceparent = traceparent

    def note(self, event: str) -> None: ...
    def describe(self, **attributes: Attribute) -> None: ...
    def name(self, name: str) -> None: ...


class RecordedSpan:
    """One of OpenTelemetry's, sampled or not."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        return _traceparent(self._span.get_span_context())

    def note(self, event: str) -> None:
        self._span.add_event(event)

    def describe(self, **attributes: Attribute) -> None:
        self._span.set_attributes(_named(attributes))

    def name(self, name: str) -> None:
        self._span.update_name(name)


def is_on() -> bool:
    """Whether somebody has set up OpenTelemetry in this process."""
    return not isinstance(trace.get_tracer_provider(), ProxyTracerProvider)


def current() -> str:
    """The `traceparent` of the span in this task's context, which is Ray Serve's; "" if none."""
    context = trace.get_current_span().get_span_context()
    return _traceparent(context) if context.is_valid else ""


def parent_within(outside: str) -> str:
    """The parent of a span that goes on in the trace of `outside`.

    That is the span in this task's context if it is of that trace, else `outside` itself.

    Args:
        outside: the `traceparent` that a caller sent. If it is "" or not of W3C's form, the parent
            is the span in this task's context, or "" if there is none.
    """
    named = trace.get_current_span(_context(outside)).get_span_context()
    around = trace.get_current_span().get_span_context()
    if not named.is_valid or named.trace_id == around.trace_id:
        return current()
    return _traceparent(named)


def trace_id(traceparent: str) -> str:
    """The trace that a `traceparent` is of, in hexadecimal; "" of none."""
    return traceparent.split("-")[1] if traceparent else ""


@contextmanager
def span(
    name: str,
    request_id: str,
    parent: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    earlier: Sequence[str] = (),
    **attributes: Attribute,
) -> Iterator[Span]:
    """The block as a part of a request. An error of the block is the span's.

    Args:
        parent: a `traceparent`; "" takes what is current in this task, or begins a trace.
        earlier: of spans that this one follows, such as attempts that failed.
        attributes: get our prefix.
    """
    if not is_on():
        yield Untraced(parent)
        return
    opened = trace.get_tracer(TRACER).start_span(
        name,
        _context(parent),
        kind,
        {REQUEST_ID: request_id, **_named(attributes)},
        [Link(trace.get_current_span(_context(one)).get_span_context()) for one in earlier],
    )
    try:
        yield RecordedSpan(opened)
    except (GeneratorExit, asyncio.CancelledError):
        opened.set_attribute(END, "left by its caller")
        raise
    except BaseException as error:
        opened.set_attribute("error.type", type(error).__name__)
        opened.set_status(Status(StatusCode.ERROR, str(error)))
        raise
    finally:
        opened.end()


async def traced(
    name: str, request_id: str, parent: str, answer: Callable[[Span], AsyncGenerator[D]]
) -> AsyncGenerator[D]:
    """What `answer` gives, as a part of a request that lasts as long as it does."""
    with span(name, request_id, parent, kind=SpanKind.SERVER) as around:
        async with aclosing(answer(around)) as items:
            async for item in items:
                yield item


def record(
    name: str, request_id: str, parent: str, began_s: float, ended_s: float, **attributes: Attribute
) -> None:
    """A part of a request that is over.

    Args:
        began_s: of `time.monotonic`, which all processes of a machine share.
        ended_s: likewise.
    """
    if not is_on():
        return
    zero_ns = time.time_ns() - time.monotonic_ns()
    opened = trace.get_tracer(TRACER).start_span(
        name,
        _context(parent),
        attributes={REQUEST_ID: request_id, **_named(attributes)},
        start_time=zero_ns + int(began_s * NS_PER_S),
    )
    opened.end(zero_ns + int(ended_s * NS_PER_S))


def _context(parent: str) -> Context | None:
    """None is what is current."""
    if not parent:
        return None
    return TraceContextTextMapPropagator().extract({TRACEPARENT: parent}, Context())


def _traceparent(context: trace.SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _named(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    return {f"step_audio2.{name}": value for name, value in attributes.items()}
