"""What is counted where a call goes on with another replica."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from deployments import stage_calls
from deployments.errors import EngineLost
from deployments.liveness.watch import Watch
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.metrics import RESUMED
from deployments.resume import Recovery, Tries
from tests.unit.deployments.recorded import Recorded

REQUEST = ThinkerRequest("r", ())


class Attempt:
    """One call through a handle: it raises, or gives one delta."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome

    async def __aiter__(self) -> AsyncIterator[Any]:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        yield self._outcome

    def cancel(self) -> None: ...


def calls(*outcomes: object) -> Callable[[Any], Attempt]:
    left = iter(outcomes)
    return lambda request: Attempt(next(left))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setattr(stage_calls, "recorder", lambda: recorded)
    return recorded


async def test_a_written_answer_that_goes_on_counts_with_its_stage_and_its_cause(recorded) -> None:
    call = calls(EngineLost("it died"), ThinkerDelta(finish_reason="stop"))
    answer = stage_calls.written(REQUEST, call, Recovery(), Tries(1), Watch(2.0))
    assert [delta.finish_reason async for delta in answer] == ["stop"]
    assert recorded.tags_of(RESUMED) == [{"stage": "Thinker", "cause": "EngineLost"}]


async def test_a_spoken_answer_that_goes_on_counts_with_its_stage_and_its_cause(recorded) -> None:
    lost = ActorUnavailableError("gone", b"0" * 16)
    call = calls(lost, SpeechDelta(finish_reason="stop"))
    answer = stage_calls.spoken(SpeechRequest(REQUEST), call, Recovery(), Watch(2.0))
    assert [delta.finish_reason async for delta in answer] == ["stop"]
    assert recorded.tags_of(RESUMED) == [{"stage": "Token2Wav", "cause": "ActorUnavailableError"}]


async def test_an_answer_that_may_not_go_on_does_not_count(recorded) -> None:
    answer = stage_calls.written(
        REQUEST, calls(EngineLost("it died")), Recovery(), Tries(0), Watch(2.0)
    )
    with pytest.raises(EngineLost):
        [delta async for delta in answer]
    assert recorded.calls == 0
