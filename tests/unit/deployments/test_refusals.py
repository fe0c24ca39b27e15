"""A stage is full when each of its replicas has refused, and not before."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from deployments.errors import EngineFailed, EveryReplicaFull, ReplicaHangs, ServerFull
from deployments.liveness.watch import Watch
from deployments.messages import (
    Heartbeat,
    SpeechDelta,
    SpeechRequest,
    ThinkerDelta,
    ThinkerRequest,
)
from deployments.refusals import asked_until_one_has_room
from deployments.replica_name import signed
from deployments.resume import Recovery, Tries
from deployments.stage_calls import spoken, written
from tests.unit.deployments.resume.chained import everything

REQUEST = ThinkerRequest("r", ())
DONE = ThinkerDelta("hi", made=(1,), offset=0, finish_reason="stop")
Answer = Callable[[Any], list[Any]]


class Stage:
    """Replicas by name; each gives the deltas, or raises the error, that its function says."""

    def __init__(self, **replicas: Answer) -> None:
        self._replicas = replicas
        self.requests: list[Any] = []
        self.asked: list[str] = []
        self.cancelled = 0

    def __call__(self, request: Any) -> "Response":
        """`handle.method.remote`, as the router sends it."""
        self.requests.append(request)
        names = [name for name in self._replicas if name not in request.refused_by]
        if not names:
            return Response(self, self._raises(EveryReplicaFull()))
        name = min(names, key=lambda one: one in request.avoid)
        self.asked.append(name)
        return Response(self, signed(self._answer(name, request), name))

    async def _answer(self, name: str, request: Any) -> AsyncGenerator[Any]:
        for one in self._replicas[name](request):
            if isinstance(one, Exception):
                raise one
            yield one

    async def _raises(self, error: Exception) -> AsyncGenerator[Any]:
        raise error
        yield


class Response:
    def __init__(self, stage: Stage, deltas: AsyncGenerator[Any]) -> None:
        self._stage = stage
        self._deltas = deltas

    def __aiter__(self) -> AsyncGenerator[Any]:
        return self._deltas

    def cancel(self) -> None:
        self._stage.cancelled += 1


def full(after_s: float | None = None) -> Answer:
    return lambda request: [ServerFull(after_s)]


def answers(request: Any) -> list[Any]:
    return [DONE]


def answers_of(stage: Callable[[Any], Any]) -> Callable[[Any], AsyncGenerator[Any]]:
    """Its answers, closed as a caller closes them."""
    return lambda request: Watch(silence_s=2.0).over(stage, request)


async def asked(stage: Stage, **options: Any) -> list[Any]:
    return await everything(
        asked_until_one_has_room(REQUEST, answers_of(stage), waits=False, **options)
    )


async def test_a_refusal_is_not_final_while_another_replica_has_room():
    stage = Stage(a=full(), b=full(), c=answers)
    (delta,) = await asked(stage)
    assert (delta.text, delta.replica) == ("hi", "c")
    assert stage.asked == ["a", "b", "c"]
    assert stage.cancelled == 3


@pytest.mark.parametrize(
    ("after_s", "least_s"), [((3.0, 1.5, 2.0), 1.5), ((None, 2.0), 2.0), ((None, None), None)]
)
async def test_where_all_refuse_the_least_retry_after_counts_and_each_was_asked_once(
    after_s, least_s
):
    stage = Stage(**{f"r{number}": full(wait) for number, wait in enumerate(after_s)})
    with pytest.raises(ServerFull) as refused:
        await asked(stage)
    assert refused.value.retry_after_s == least_s
    assert len(stage.asked) == len(after_s)


async def test_a_refusal_of_a_version_without_names_is_final():
    def refuses(request: Any) -> Response:
        return Response(stage, stage._raises(ServerFull(2.0)))

    stage = Stage()
    with pytest.raises(ServerFull) as refused:
        await everything(asked_until_one_has_room(REQUEST, answers_of(refuses), waits=False))
    assert refused.value.retry_after_s == 2.0


async def test_what_is_refused_after_the_answer_has_begun_is_not_asked_again():
    stage = Stage(a=lambda request: [ThinkerDelta("h"), ServerFull()], b=answers)
    with pytest.raises(ServerFull):
        await asked(stage)
    assert stage.asked == ["a"]


async def test_other_errors_are_not_asked_again():
    stage = Stage(a=lambda request: [EngineFailed("no")], b=answers)
    with pytest.raises(EngineFailed):
        await asked(stage)


async def test_who_waits_asks_all_again_until_one_has_room():
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    def full_twice(request: Any) -> list[Any]:
        return [ServerFull()] if len(pauses) < 2 else [DONE]

    stage = Stage(a=full(), b=full_twice)
    deltas = asked_until_one_has_room(REQUEST, answers_of(stage), waits=True, sleep=pause)
    assert [delta.text for delta in await everything(deltas)] == ["hi"]
    assert stage.asked == ["a", "b"] * 3


async def test_a_refusal_of_the_next_stage_is_not_this_ones():
    stage = Stage(a=lambda request: [EveryReplicaFull(2.0)], b=answers)
    with pytest.raises(ServerFull):
        await asked(stage)
    assert stage.asked == ["a"]


async def test_a_text_goes_on_with_another_replica_than_the_one_it_lost():
    def dies(request: Any) -> list[Any]:
        return [ThinkerDelta("h", made=(1,), offset=0), TimeoutError()]

    def goes_on(request: Any) -> list[Any]:
        return [ThinkerDelta("i", made=(2,), offset=len(request.made), finish_reason="stop")]

    stage = Stage(a=dies, b=goes_on)
    deltas = await everything(written(REQUEST, stage, Recovery(), Tries(3), Watch(2.0)))
    assert "".join(delta.text for delta in deltas) == "hi"
    assert stage.asked == ["a", "b"]
    assert [request.avoid for request in stage.requests] == [(), ("a",)]


async def test_a_spoken_answer_avoids_every_replica_that_it_lost():
    def dies(request: Any) -> list[Any]:
        return [SpeechDelta(offset=0), TimeoutError()]

    def speaks(request: Any) -> list[Any]:
        return [SpeechDelta(b"\0\0", offset=0, finish_reason="stop")]

    stage = Stage(a=dies, b=dies, c=speaks)
    request = SpeechRequest(REQUEST)
    assert len(await everything(spoken(request, stage, Recovery(), Watch(2.0)))) == 3
    assert stage.asked == ["a", "b", "c"]
    assert [request.avoid for request in stage.requests] == [(), ("a",), ("a", "b")]


async def test_an_answer_that_goes_on_waits_for_room_and_spends_one_try():
    rounds = 0

    def dies(request: Any) -> list[Any]:
        return [SpeechDelta(offset=0), TimeoutError()]

    def full_for_a_while(request: Any) -> list[Any]:
        nonlocal rounds
        rounds += 1
        return [ServerFull()] if rounds < 3 else [SpeechDelta(offset=0, finish_reason="stop")]

    def lost_or_full(request: Any) -> list[Any]:
        return dies(request) if not request.avoid else [ServerFull()]

    stage = Stage(a=lost_or_full, b=full_for_a_while)
    await everything(spoken(SpeechRequest(REQUEST), stage, Recovery(tries=1), Watch(2.0)))
    assert stage.asked == ["a", "b", "a", "b", "a", "b"]


async def test_a_replica_that_only_sent_heartbeats_before_it_was_lost_is_avoided():
    beat = ThinkerDelta(heartbeat=Heartbeat(1, 0.0, stuck=False, alone=True))
    stage = Stage(a=lambda request: [beat, ReplicaHangs("a", "no heartbeat")], b=answers)
    (delta,) = await everything(written(REQUEST, stage, Recovery(), Tries(3), Watch(2.0)))
    assert delta.replica == "b"
    assert stage.requests[-1].avoid == ("a",)


async def test_heartbeats_and_the_first_words_name_the_replica():
    beat = ThinkerDelta(heartbeat=Heartbeat(1, 0.0, stuck=False, alone=True))
    stage = Stage(a=lambda request: [beat, ThinkerDelta("h"), DONE])
    assert [delta.replica for delta in await asked(stage)] == ["a", "a", ""]


async def test_a_refusal_after_a_heartbeat_is_not_final_either():
    beat = ThinkerDelta(heartbeat=Heartbeat(1, 0.0, stuck=False, alone=True))
    stage = Stage(a=lambda request: [beat, ServerFull()], b=answers)
    *_, delta = await asked(stage)
    assert delta.replica == "b"
