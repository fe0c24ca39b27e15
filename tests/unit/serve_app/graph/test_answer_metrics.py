"""What the metrics of answers say, each caused by the thing itself."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError

from deployments import metrics
from deployments.errors import EngineFailed, PromptTooLong, ServerFull
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest, Usage
from serve_app.graph.answer_metrics import PCM_BYTES_PER_S, MeasuredBackend
from tests.unit.deployments.recorded import Recorded

REQUEST = ThinkerRequest("r", ())
SPEECH = SpeechRequest(REQUEST)
USAGE = Usage(100, completion_tokens=50, audio_tokens=40, cached_prompt_tokens=64)
SECOND = bytes(PCM_BYTES_PER_S)


class Scripted:
    """A graph whose answers are written down; a number lets that many seconds pass."""

    def __init__(self, *script: object) -> None:
        self._script = script
        self.now_s = 100.0

    async def speech(self, request: object) -> AsyncGenerator[Any]:
        for step in self._script:
            if isinstance(step, float):
                self.now_s += step
            elif isinstance(step, BaseException):
                raise step
            else:
                yield step

    text = speech


def last(delta: type = SpeechDelta, **fields: Any) -> Any:
    return delta(finish_reason=fields.pop("reason", "stop"), usage=USAGE, **fields)


async def heard(request: SpeechRequest, *script: object, until: int | None = None) -> Recorded:
    """What was recorded of one spoken answer, which is left after `until` deltas."""
    graph, recorded = Scripted(*script), Recorded()
    backend = MeasuredBackend(graph, recorded, lambda: graph.now_s)  # type: ignore[arg-type]
    async with aclosing(backend.speech(request)) as deltas:
        taken = 0
        async for _ in deltas:
            taken += 1
            if taken == until:
                break
    return recorded


async def read(*script: object) -> Recorded:
    graph, recorded = Scripted(*script), Recorded()
    backend = MeasuredBackend(graph, recorded)  # type: ignore[arg-type]
    async with aclosing(backend.text(REQUEST)) as deltas:
        async for _ in deltas:
            pass
    return recorded


async def failed(error: BaseException) -> Recorded:
    graph, recorded = Scripted(error), Recorded()
    backend = MeasuredBackend(graph, recorded)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        await anext(backend.speech(SPEECH))
    return recorded


async def test_the_first_sound_is_timed_and_not_the_first_words() -> None:
    recorded = await heard(SPEECH, 0.2, SpeechDelta(text="Hello"), 0.3, SpeechDelta(SECOND), last())
    assert recorded.of(metrics.FIRST_SOUND) == [pytest.approx(0.5)]


async def test_the_real_time_factor_is_the_wait_by_what_plays() -> None:
    recorded = await heard(SPEECH, 0.5, SpeechDelta(SECOND), 0.5, last(pcm=SECOND))
    assert recorded.of(metrics.REAL_TIME_FACTOR) == [pytest.approx(0.5)]


async def test_an_answer_at_twice_the_speed_plays_half_as_long() -> None:
    request = SpeechRequest(REQUEST, speed=2.0)
    recorded = await heard(request, 0.5, SpeechDelta(SECOND), 0.75, last(pcm=SECOND))
    assert recorded.of(metrics.REAL_TIME_FACTOR) == [pytest.approx(1.25)]
    assert recorded.of(metrics.UNDERRUNS) == [1]
    assert recorded.of(metrics.SILENCE) == [pytest.approx(0.25)]


async def test_the_gaps_that_a_client_hears_are_counted_and_timed() -> None:
    script = (SpeechDelta(SECOND), 1.2, SpeechDelta(SECOND), 1.3, last(pcm=SECOND))
    recorded = await heard(SPEECH, *script)
    assert recorded.of(metrics.UNDERRUNS) == [2]
    assert recorded.of(metrics.SILENCE) == [pytest.approx(0.5)]


async def test_an_answer_without_a_gap_counts_as_silence_of_no_length() -> None:
    recorded = await heard(SPEECH, SpeechDelta(SECOND), 0.9, last(pcm=SECOND))
    assert recorded.of(metrics.UNDERRUNS) == []
    assert recorded.of(metrics.SILENCE) == [0.0]


async def test_a_client_that_leaves_over_a_gap_has_heard_it() -> None:
    script = (SpeechDelta(SECOND), 2.0, SpeechDelta(SECOND), last())
    recorded = await heard(SPEECH, *script, until=2)
    assert recorded.of(metrics.ANSWERS, reply="speech", end="left") == [1]
    assert recorded.of(metrics.UNDERRUNS) == [1]
    assert recorded.of(metrics.REAL_TIME_FACTOR) == []


@pytest.mark.parametrize(
    "request_",
    [
        SpeechRequest(REQUEST, streamed=False),
        SpeechRequest(ThinkerRequest("r", (), priority="background")),
    ],
)
async def test_what_nobody_listens_to_has_no_gaps_and_no_first_sound(request_) -> None:
    recorded = await heard(request_, SpeechDelta(SECOND), 9.0, last(pcm=SECOND))
    for metric in (metrics.FIRST_SOUND, metrics.UNDERRUNS, metrics.SILENCE):
        assert recorded.of(metric) == []
    assert recorded.of(metrics.ANSWERS, end="done") == [1]


async def test_an_answer_that_is_complete_is_done() -> None:
    assert (await read(last(ThinkerDelta))).tags_of(metrics.ANSWERS) == [
        {"reply": "text", "end": "done"}
    ]
    assert (await heard(SPEECH, last())).tags_of(metrics.ANSWERS) == [
        {"reply": "speech", "end": "done"}
    ]


async def test_an_answer_whose_last_delta_was_taken_is_done_though_it_is_closed() -> None:
    recorded = await heard(SPEECH, last(pcm=SECOND), until=1)
    assert recorded.of(metrics.ANSWERS, end="done") == [1]


async def test_an_answer_that_its_client_leaves_while_it_waits_is_left() -> None:
    class Endless(Scripted):
        async def speech(self, request: object) -> AsyncGenerator[Any]:
            await asyncio.Event().wait()
            yield

    recorded = Recorded()
    deltas = MeasuredBackend(Endless(), recorded).speech(SPEECH)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(deltas)
    assert recorded.of(metrics.ANSWERS, end="left") == [1]


@pytest.mark.parametrize("script", [(SpeechDelta(SECOND),), (last(reason="abort"),)])
async def test_an_answer_that_is_cut_short_has_failed(script) -> None:
    assert (await heard(SPEECH, *script)).of(metrics.ANSWERS, end="failed") == [1]


async def test_an_engine_that_fails_and_a_request_at_fault_are_told_apart() -> None:
    recorded = await failed(EngineFailed("a step failed"))
    assert recorded.of(metrics.ANSWERS, end="failed") == [1]
    recorded = await failed(PromptTooLong(9000, 8000))
    assert recorded.of(metrics.ANSWERS, end="invalid") == [1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ServerFull(reason="memory"), "memory"),
        (ServerFull(reason="time"), "time"),
        (ExceptionGroup("", [ServerFull(reason="time")]), "time"),  # as it comes out of tasks
        (BackPressureError(1, 1), "full"),
    ],
)
async def test_a_refusal_counts_with_its_reason(error, reason) -> None:
    recorded = await failed(error)
    assert recorded.tags_of(metrics.REFUSED) == [{"reason": reason}]
    assert recorded.of(metrics.ANSWERS, end="refused") == [1]


async def test_tokens_count_by_kind_once_the_answer_is_complete() -> None:
    for recorded in (await read(last(ThinkerDelta)), await heard(SPEECH, last(pcm=SECOND))):
        kinds = {"prompt": 100, "cached": 64, "completion": 50, "audio": 40}
        assert {kind: sum(recorded.of(metrics.TOKENS, kind=kind)) for kind in kinds} == kinds
    assert (await heard(SPEECH, SpeechDelta(SECOND))).of(metrics.TOKENS) == []


async def test_a_long_answer_takes_as_many_calls_as_a_short_one() -> None:
    short = await heard(SPEECH, *[SpeechDelta(SECOND)] * 2, last())
    long = await heard(SPEECH, *[SpeechDelta(SECOND)] * 500, last())
    assert long.calls == short.calls
