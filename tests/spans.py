"""OpenTelemetry's spans, kept in memory: for tests that trace in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

from deployments.tracing import REQUEST_ID


class Spans:
    """All that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.ended]

    @property
    def trace_ids(self) -> set[int]:
        return {one.context.trace_id for one in self.ended}

    @property
    def request_ids(self) -> set[object]:
        return {one.attributes[REQUEST_ID] for one in self.ended}

    def named(self, name: str) -> list[ReadableSpan]:
        """In the order in which they began."""
        found = [one for one in self.ended if one.name == name]
        return sorted(found, key=lambda one: one.start_time)

    def path(self, span: ReadableSpan) -> list[str]:
        """The names from the trace's root to `span`."""
        by_id = {one.context.span_id: one for one in self.ended}
        path = [span.name]
        while span.parent is not None and span.parent.span_id in by_id:
            span = by_id[span.parent.span_id]
            path.insert(0, span.name)
        return path


@contextmanager
def spans_kept(monkeypatch: pytest.MonkeyPatch, sampler: Sampler = ALWAYS_ON) -> Iterator[Spans]:
    """Trace this process, as Ray Serve's `tracing_config` does in a replica."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with monkeypatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield Spans(exporter)
    provider.shutdown()
