"""Spans of an answer reach a collector over OTLP, as docs/tracing.md configures it."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from deployments.trace_export import span_processors
from tests.integration.http.test_request_trace import HEADERS, PARENT, SPEECH, TRACE
from tests.otlp_collector import Collector, collecting


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """One to which this process sends its spans; all have come once the provider is shut down."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        provider = TracerProvider()
        for processor in span_processors():
            provider.add_span_processor(processor)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
        yield collector
        provider.shutdown()


async def test_the_spans_of_a_streamed_answer_arrive_as_one_trace(collector, raw) -> None:
    async with raw.stream("POST", "/v1/audio/speech", json=SPEECH, headers=HEADERS) as answer:
        assert answer.status_code == 200 and await answer.aread()
    assert trace.get_tracer_provider().force_flush()  # type: ignore[attr-defined]
    spans = collector.of_request("req_mine")
    assert {one.trace_id for one in spans} == {TRACE}
    names = {"POST /v1/audio/speech", "answer aloud", "Token2Wav", "Thinker", "open the stream"}
    assert names <= {one.name for one in spans}
    ids = {one.span_id for one in spans}
    (root,) = [one for one in spans if one.parent_id not in ids]
    assert (root.name, root.parent_id) == ("POST /v1/audio/speech", PARENT)
    assert not any(one.failed for one in spans)


async def test_where_no_collector_is_an_answer_comes_all_the_same(raw, monkeypatch) -> None:
    with collecting() as gone:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", gone.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    provider = TracerProvider()
    for processor in span_processors():
        provider.add_span_processor(processor)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    answer = await raw.post("/v1/audio/speech", json=SPEECH, headers=HEADERS)
    assert answer.status_code == 200 and answer.content
    provider.shutdown()
