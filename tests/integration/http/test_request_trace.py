"""A request's trace, from its first byte in to its first byte out."""

import logging
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from deployments.tracing import REQUEST_ID
from tests.integration.http.helpers import MODEL
from tests.spans import Spans, spans_kept

TRACE, PARENT = "a" * 32, "b" * 16
HEADERS = {"X-Request-Id": "req_mine", "traceparent": f"00-{TRACE}-{PARENT}-01"}
SPEECH = {"model": MODEL, "voice": "default", "input": "hello", "response_format": "pcm"}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def spans(monkeypatch) -> Iterator[Spans]:
    with spans_kept(monkeypatch) as spans:
        yield spans


async def test_a_streamed_answer_is_one_trace_that_goes_on_with_the_clients(spans, raw) -> None:
    async with raw.stream("POST", "/v1/audio/speech", json=SPEECH, headers=HEADERS) as answer:
        assert answer.status_code == 200 and await answer.aread()
    assert spans.trace_ids == {int(TRACE, 16)}
    assert spans.request_ids == {"req_mine"}
    (request,) = spans.named("POST /v1/audio/speech")
    assert request.parent.span_id == int(PARENT, 16)
    assert request.attributes["step_audio2.status"] == 200
    assert "first byte" in [event.name for event in request.events]
    (turn,) = spans.named("Thinker")
    way = ["POST /v1/audio/speech", "answer aloud", "Token2Wav", "Thinker"]
    assert spans.path(turn) == way
    (answer_aloud,) = spans.named("answer aloud")
    (first_sound,) = answer_aloud.events
    assert first_sound.timestamp <= request.events[-1].timestamp


@pytest.mark.parametrize("trace_id", [TRACE, "c" * 32])
async def test_it_goes_on_with_the_clients_where_serves_own_span_is_of_another_trace(
    spans, raw, trace_id: str
) -> None:
    """A proxy of Serve's that traces nothing hands no `traceparent` to its replica."""
    flags = TraceFlags(TraceFlags.SAMPLED)
    serves = SpanContext(int(trace_id, 16), span_id=7, is_remote=True, trace_flags=flags)
    with trace.use_span(NonRecordingSpan(serves)):
        answer = await raw.post("/v1/audio/speech", json=SPEECH, headers=HEADERS)
    assert answer.status_code == 200
    assert spans.trace_ids == {int(TRACE, 16)}
    (request,) = spans.named("POST /v1/audio/speech")
    assert request.parent.span_id == (7 if trace_id == TRACE else int(PARENT, 16))


@pytest.mark.parametrize("traceparent", ["nonsense", "00-1-2-3", b"\xff", f"00-{'0' * 32}-1-01"])
async def test_what_is_no_traceparent_is_passed_over(spans, raw, traceparent) -> None:
    headers = {"traceparent": traceparent}
    answer = await raw.post("/v1/audio/speech", json=SPEECH, headers=headers)
    assert answer.status_code == 200
    (request,) = spans.named("POST /v1/audio/speech")
    assert request.parent is None


async def test_an_answer_in_text_is_one_too(spans, raw) -> None:
    answer = await raw.post("/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200
    assert len(spans.trace_ids) == 1
    assert spans.path(spans.named("Thinker")[0]) == [
        "POST /v1/chat/completions",
        "answer in text",
        "Thinker",
    ]
    assert [event.name for event in spans.named("answer in text")[0].events] == ["first words"]


async def test_a_refusal_is_in_the_trace_with_its_status(spans, raw) -> None:
    answer = await raw.post("/v1/audio/speech", json={**SPEECH, "voice": "nobody"})
    (request,) = [one for one in spans.ended if one.parent is None]
    assert request.attributes["step_audio2.status"] == answer.status_code == 400


async def test_probes_leave_no_trace(spans, raw) -> None:
    assert (await raw.get("/health")).status_code == 200
    assert not spans.ended


async def test_log_lines_have_the_trace_of_their_request(
    spans, raw: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serve_app.http.middleware")
    await raw.post("/v1/audio/speech", json=SPEECH, headers=HEADERS)
    (record,) = [one for one in caplog.records if "req_mine" in one.getMessage()]
    assert record.trace_id == TRACE  # type: ignore[attr-defined]
    assert vars(record)[REQUEST_ID] == "req_mine"


async def test_without_tracing_a_log_line_has_no_trace(
    raw: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "serve_app.http.middleware")
    await raw.post("/v1/audio/speech", json=SPEECH, headers=HEADERS)
    (record,) = [one for one in caplog.records if "req_mine" in one.getMessage()]
    assert not hasattr(record, "trace_id")
