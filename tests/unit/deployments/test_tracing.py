"""One trace of a spoken answer, over both stages and both attempts of each."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import StatusCode, TraceFlags
from ray.serve._private.tracing_utils import _load_span_processors

from deployments import tracing
from deployments.errors import EngineLost, UnknownVoice
from deployments.liveness.watch import Watch
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.resume import Recovery, Tries
from deployments.spoken_answer.traced_speech import traced_aloud
from deployments.stage_calls import spoken, written
from deployments.thinker.traced_turn import timed, traced_turn
from tests.spans import Spans, spans_kept
from tests.unit.deployments.resume.chained import ChainedSynthesizer, ChainedThinker, everything

ID = "req_7"
QUESTION = ThinkerRequest(ID, (), "speech")
CLIENTS_TRACE, CLIENTS_SPAN = "1" * 32, "2" * 16
TRACEPARENT = f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01"


class Call:
    """An answer as a handle of Ray Serve's gives it; its replica may die after some deltas."""

    ending: ClassVar[set[asyncio.Task[None]]] = set()

    def __init__(self, deltas: AsyncGenerator[Any], replica: str, dies_after: int | None) -> None:
        self._deltas = deltas
        self._replica = replica
        self._left = dies_after

    def __aiter__(self) -> "Call":
        return self

    async def __anext__(self) -> Any:
        delta = await anext(self._deltas)
        if self._left == 0:
            raise EngineLost("it died")
        self._left = None if self._left is None else self._left - 1
        return replace(delta, replica=self._replica)

    def cancel(self) -> None:
        self.ending.add(asyncio.create_task(self._deltas.aclose()))


async def ended(deltas: AsyncGenerator[Any]) -> list[Any]:
    """All of an answer, once each replica has closed its part."""
    answer = await everything(deltas)
    await replicas_closed()
    return answer


async def replicas_closed() -> None:
    while Call.ending:
        await Call.ending.pop()


class Graph:
    """Both stages, each with a replica that dies in its first answer and one that does not."""

    def __init__(self, thinker_dies_after: int | None, token2wav_dies_after: int | None) -> None:
        self._thinkers = iter([thinker_dies_after, None, None, None])
        self._token2wavs = iter([token2wav_dies_after, None])
        self._thinker, self._synthesizer = ChainedThinker(30), ChainedSynthesizer()
        self.asked: list[ThinkerRequest] = []

    def answer(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        return spoken(request, self._speak, Recovery(), Watch(2.0))

    def _speak(self, request: SpeechRequest) -> Call:
        deltas = traced_aloud(request, self._synthesizer, self._think)
        return Call(deltas, "w", next(self._token2wavs))

    def _think(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        return written(request, self._generate, Recovery(), Tries(3), Watch(2.0))

    def _generate(self, request: ThinkerRequest) -> Call:
        self.asked.append(request)
        return Call(traced_turn(request, self._thinker), "t", next(self._thinkers))


@pytest.fixture
def spans(monkeypatch) -> Iterator[Spans]:
    with spans_kept(monkeypatch) as spans:
        yield spans


def asked_by(traceparent: str) -> SpeechRequest:
    return SpeechRequest(replace(QUESTION, trace=traceparent))


async def test_a_spoken_answer_is_one_trace_with_its_request_id_on_every_span(spans) -> None:
    await ended(Graph(None, None).answer(asked_by(TRACEPARENT)))
    assert spans.trace_ids == {int(CLIENTS_TRACE, 16)}
    assert spans.request_ids == {ID}
    (turn,) = spans.named("Thinker")
    assert spans.path(turn) == ["ask Token2Wav", "Token2Wav", "ask Thinker", "Thinker"]
    assert spans.named("ask Token2Wav")[0].parent.span_id == int(CLIENTS_SPAN, 16)
    for name in ("open the stream", "wait for a step", "first step"):
        assert spans.path(spans.named(name)[0]) == ["ask Token2Wav", "Token2Wav", name]


async def test_the_way_to_the_first_sound_is_in_order(spans) -> None:
    await ended(Graph(None, None).answer(asked_by(TRACEPARENT)))
    (speech,) = spans.named("Token2Wav")
    tokens, sound = speech.events
    assert (tokens.name, sound.name) == ("first tokens", "first sound")
    (opening,), (wait,), (step,) = map(
        spans.named, ("open the stream", "wait for a step", "first step")
    )
    assert opening.end_time <= tokens.timestamp
    assert wait.start_time <= wait.end_time <= step.end_time
    assert wait.end_time == pytest.approx(step.start_time, abs=1e6)  # ns
    assert step.attributes["step_audio2.tokens"] > 0


@pytest.mark.parametrize(
    ("dies", "stage"), [((4, None), "Thinker"), ((None, 4), "Token2Wav")], ids=["Thinker", "both"]
)
async def test_both_attempts_of_a_resumed_answer_are_in_its_trace(spans, dies, stage) -> None:
    deltas = await ended(Graph(*dies).answer(asked_by(TRACEPARENT)))
    assert deltas[-1].finish_reason == "stop"
    assert spans.trace_ids == {int(CLIENTS_TRACE, 16)} and spans.request_ids == {ID}
    lost, second = spans.named(f"ask {stage}")
    assert lost.status.status_code is StatusCode.ERROR
    assert lost.attributes["error.type"] == "EngineLost"
    assert second.status.status_code is StatusCode.UNSET
    assert [link.context.span_id for link in second.links] == [lost.context.span_id]
    numbers = [one.attributes["step_audio2.attempt"] for one in (lost, second)]
    assert numbers == [1, 2]
    answers = spans.named(stage)
    assert [one.attributes["step_audio2.goes_on"] for one in answers] == [False, True]
    assert answers[1].parent.span_id == second.context.span_id
    assert lost.attributes["step_audio2.replica"] in ("t", "w")


async def test_an_error_of_the_request_is_on_its_spans(spans) -> None:
    class Refuses(ChainedSynthesizer):
        async def open(self, *_: Any, **__: Any) -> Any:
            raise UnknownVoice("bob", known=("default",))

    with pytest.raises(UnknownVoice):
        await everything(traced_aloud(asked_by(TRACEPARENT), Refuses(), ChainedThinker(3).generate))
    types = {one.name: one.attributes["error.type"] for one in spans.ended}
    assert types == {"open the stream": "UnknownVoice", "Token2Wav": "UnknownVoice"}


async def test_an_answer_that_is_left_is_no_error(spans) -> None:
    answer = Graph(None, None).answer(asked_by(TRACEPARENT))
    await anext(answer)
    await answer.aclose()
    await replicas_closed()
    ends = {one.attributes.get(tracing.END) for one in spans.ended if "Token2Wav" in one.name}
    assert ends == {"left by its caller"}
    assert all(one.status.status_code is StatusCode.UNSET for one in spans.ended)


@pytest.mark.parametrize(("root", "trace"), [(ALWAYS_ON, TRACEPARENT[:-1] + "0"), (ALWAYS_OFF, "")])
async def test_the_decision_to_sample_is_made_once(monkeypatch, root, trace) -> None:
    graph = Graph(4, None)
    with spans_kept(monkeypatch, ParentBased(root)) as spans:
        await ended(graph.answer(asked_by(trace)))
    assert not spans.ended
    assert len(graph.asked) == 2
    sampled = [int(one.trace.rpartition("-")[2], 16) & TraceFlags.SAMPLED for one in graph.asked]
    assert sampled == [0, 0]


async def test_where_nothing_is_traced_messages_carry_no_trace_of_ours() -> None:
    assert not tracing.is_on()
    graph = Graph(4, None)
    await ended(graph.answer(SpeechRequest(QUESTION)))
    assert [one.trace for one in graph.asked] == ["", ""]


async def test_vllms_times_become_spans(spans) -> None:
    now_s = time.monotonic()
    times = SimpleNamespace(
        queued_ts=now_s - 4, scheduled_ts=now_s - 3, first_token_ts=now_s - 1, last_token_ts=now_s
    )

    async def outputs() -> AsyncGenerator[Any]:
        yield SimpleNamespace(metrics=times)

    await everything(timed(outputs(), ID, TRACEPARENT))
    took_s = {one.name: (one.end_time - one.start_time) / 1e9 for one in spans.ended}
    assert took_s == pytest.approx({"queue": 1, "prefill": 2, "decode": 1}, abs=1e-6)
    assert spans.named("decode")[0].end_time == pytest.approx(time.time_ns(), abs=2e9)


async def test_a_request_that_never_left_the_queue_has_no_prefill(spans) -> None:
    times = SimpleNamespace(queued_ts=5.0, scheduled_ts=0.0, first_token_ts=0.0, last_token_ts=0.0)

    async def outputs() -> AsyncGenerator[Any]:
        yield SimpleNamespace(metrics=times)

    await everything(timed(outputs(), ID, TRACEPARENT))
    assert not spans.ended


async def test_spans_are_exported_over_otlp_to_where_the_environment_says(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    path = "deployments.trace_export:span_processors"
    (processor,) = _load_span_processors(path, "")  # as Ray Serve does, with its checks
    try:
        assert processor.span_exporter._endpoint == "http://collector:4318/v1/traces"
    finally:
        processor.shutdown()
