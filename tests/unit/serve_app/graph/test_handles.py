"""What the backend over Ray's handles concludes from the answers that come."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import pytest

from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.resume import Recovery
from serve_app.graph import handles
from serve_app.graph.handles import ServeBackend

REQUEST = ThinkerRequest("r", ())
WRITTEN, SPOKEN = ThinkerDelta(finish_reason="stop"), SpeechDelta(finish_reason="stop")


class Handle:
    """A deployment's handle whose every streaming method gives one delta."""

    def __init__(self, delta: object) -> None:
        self._delta = delta
        self.cancelled = 0
        self.generate = self.speak = self

    def options(self, **options: Any) -> Self:
        return self

    def remote(self, request: object) -> Self:
        return self

    async def __aiter__(self) -> AsyncIterator[object]:
        yield self._delta

    def cancel(self) -> None:
        self.cancelled += 1


class Asked(ServeBackend):
    """Counts how often Serve's status is asked for, which then shows no replica."""

    def __init__(self, *, speaks: bool = True) -> None:
        token2wav = Handle(SPOKEN) if speaks else None
        super().__init__(Handle(WRITTEN), token2wav, Recovery())  # type: ignore[arg-type]
        self.asked = 0

    async def _running(self) -> dict[str, bool]:
        self.asked += 1
        return {"Thinker": False}


async def written(backend: ServeBackend) -> None:
    assert [delta async for delta in backend.text(REQUEST)] == [WRITTEN]


async def spoken(backend: ServeBackend) -> None:
    assert [delta async for delta in backend.speech(SpeechRequest(REQUEST))] == [SPOKEN]


async def test_before_the_first_answer_serve_is_asked() -> None:
    backend = Asked()
    assert not await backend.ready()
    assert not await backend.ready_for_text()
    assert backend.asked == 2


@pytest.mark.parametrize(
    ("states", "serves"),
    [
        ({"RUNNING": 1, "STOPPING": 2}, True),
        ({"PENDING_MIGRATION": 1, "STARTING": 1}, True),
        ({"RECOVERING": 1}, True),
        ({"STARTING": 2, "STOPPING": 1, "UPDATING": 1}, False),
        ({}, False),
    ],
)
async def test_a_stage_serves_while_one_of_its_replicas_takes_requests(
    monkeypatch: pytest.MonkeyPatch, states: dict[str, int], serves: bool
) -> None:
    stages = {"Thinker": SimpleNamespace(replica_states=states)}
    graph = SimpleNamespace(applications={"a": SimpleNamespace(deployments=stages)})
    monkeypatch.setattr(handles.serve, "status", lambda: graph)
    context = SimpleNamespace(app_name="a")
    monkeypatch.setattr(handles.serve, "get_replica_context", lambda: context)
    backend = ServeBackend(Handle(WRITTEN), None, Recovery())  # type: ignore[arg-type]
    assert await backend.ready() is serves


async def test_a_spoken_answer_shows_that_every_stage_runs() -> None:
    backend = Asked()
    await spoken(backend)
    assert await backend.ready()
    assert await backend.ready_for_text()
    assert backend.asked == 0


async def test_a_written_answer_shows_the_thinker_and_not_token2wav() -> None:
    backend = Asked()
    await written(backend)
    assert await backend.ready_for_text()
    assert backend.asked == 0
    assert not await backend.ready()
    assert backend.asked == 1


async def test_without_token2wav_a_written_answer_shows_every_stage() -> None:
    backend = Asked(speaks=False)
    await written(backend)
    assert await backend.ready()
    assert backend.asked == 0


async def test_an_answer_of_long_ago_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Asked()
    await spoken(backend)
    monkeypatch.setattr(handles, "HEARD_WITHIN_S", 0.0)
    assert not await backend.ready()
    assert not await backend.ready_for_text()
