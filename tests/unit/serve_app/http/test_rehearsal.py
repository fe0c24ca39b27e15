"""What a replica asks itself before anybody else does, over fake engines."""

import asyncio
import logging

import httpx
import pytest

from deployments.chunker import ChunkSchedule
from deployments.messages import ThinkerRequest
from deployments.metrics import ANSWERS
from deployments.thinker.fake import FakeThinkerEngine
from deployments.token2wav.fake import FakeSynthesizer
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.rehearsal import rehearse
from serve_app.http.settings import HttpSettings
from tests.unit.deployments.recorded import Recorded

SCHEDULE = ChunkSchedule()


class Listening(FakeThinkerEngine):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[ThinkerRequest] = []

    def generate(self, request):
        self.asked.append(request)
        return super().generate(request)


async def rehearsed(
    synthesizer: FakeSynthesizer | None,
    *,
    starts_late: bool = False,
    recorded: Recorded | None = None,
    **settings: object,
) -> Listening:
    thinker = Listening()
    backend = FakeServeBackend(thinker, synthesizer)
    if not starts_late:
        await backend.start()
    chosen = HttpSettings.model_validate(settings)
    app = create_http_app(backend, chosen, recorder=recorded or Recorded())
    readiness = app.state.server.readiness
    readiness.rehearsal = asyncio.create_task(rehearse(app, backend, chosen))
    async with asyncio.timeout(5):  # it waits for anything but itself
        await readiness.rehearsal
    return thinker


@pytest.fixture(autouse=True)
def complaints(caplog, monkeypatch):
    monkeypatch.setattr(
        "serve_app.http.rehearsal.settle_heap", lambda: None
    )  # the tests' heap lives on
    monkeypatch.setattr("serve_app.http.rehearsal.ASK_AGAIN_S", 0.0)
    caplog.set_level(logging.WARNING)
    return caplog


async def test_one_answer_is_written_and_one_spoken_over_http(complaints):
    synthesizer = FakeSynthesizer(SCHEDULE)
    thinker = await rehearsed(synthesizer)
    _, written, spoken = thinker.asked
    assert written.request_id.startswith("req_")  # what the HTTP surface gives a request
    assert spoken.request_id.startswith("req_")
    assert (written.reply, spoken.reply) == ("text", "speech")
    assert (thinker.active_requests(), synthesizer.open_streams) == (0, 0)
    assert not complaints.records


@pytest.mark.parametrize("key", ["secret", f"sha256:{'0' * 64}"])
async def test_a_server_with_keys_rehearses_without_one(complaints, key):
    limits = {"requests_per_minute": 1}
    thinker = await rehearsed(FakeSynthesizer(SCHEDULE), api_keys=[key], key_limits=limits)
    assert [request.reply for request in thinker.asked] == ["text", "text", "speech"]
    assert not complaints.records


async def test_a_server_that_only_writes_rehearses_no_speech(complaints):
    thinker = await rehearsed(None)
    assert [request.reply for request in thinker.asked] == ["text", "text"]
    assert not complaints.records


async def test_what_fails_is_told_and_harms_nothing(complaints):
    await rehearsed(FakeSynthesizer(SCHEDULE, max_streams=0))
    assert "429" in complaints.text


async def test_a_graph_that_never_gets_ready_ends_the_rehearsal(complaints):
    await rehearsed(FakeSynthesizer(SCHEDULE), starts_late=True)
    assert "503" in complaints.text


async def test_the_rehearsal_counts_in_no_metric():
    recorded = Recorded()
    thinker = await rehearsed(FakeSynthesizer(SCHEDULE), recorded=recorded)
    assert len(thinker.asked) == 3
    assert recorded.calls == 0


@pytest.mark.parametrize("limits", [{}, {"requests_per_minute": 9, "audio_s_per_minute": 9}])
async def test_answers_of_clients_count(limits):
    recorded = Recorded()
    backend = FakeServeBackend(FakeThinkerEngine(), FakeSynthesizer(SCHEDULE))
    await backend.start()
    keys = {"api_keys": ["secret"], "key_limits": limits} if limits else {}
    app = create_http_app(backend, HttpSettings.model_validate(keys), recorder=recorded)
    chat = {"model": app.state.server.settings.models[0]}
    chat["messages"] = [{"role": "user", "content": "hello"}]
    speech = {"model": chat["model"], "input": "hello", "voice": "default"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://here",
        headers={"Authorization": "Bearer secret"},
    ) as client:
        for path, body in (("chat/completions", chat), ("audio/speech", speech)):
            (await client.post(f"/v1/{path}", json=body)).raise_for_status()
    assert recorded.tags_of(ANSWERS) == [
        {"reply": reply, "end": "done"} for reply in ("text", "speech")
    ]
