"""How texts and connections end: cancelled, left, idle, failed, or with the server."""

from itertools import repeat
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import InvalidStatus

from deployments.errors import EngineFailed, ServerFull
from deployments.messages import SpeechDelta
from serve_app.http.application import create_http_app
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import eventually
from tests.integration.http.text_stream.client import (
    TEXT,
    Asked,
    Served,
    close_code,
    connected,
    serving,
    sound_of,
)


async def test_a_cancelled_text_frees_both_stages_and_the_next_one_is_spoken(
    listening: Any,
) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    async with serving(listening, graph.backend, {}) as client:
        await client.send("input.text", text=TEXT * 9)
        await client.hear("audio.start")
        await client.send("input.cancel")
        heard = await client.hear()
        assert heard.kinds() == ["audio.done", "session.done"]
        assert heard.events[-1]["status"] == "cancelled"
        assert graph.idle()
        assert (await client.say("Hi.")).sound == sound_of(["Hi."])


async def test_texts_that_wait_are_cancelled_too(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    backend = Asked(graph)
    async with serving(listening, backend, {}) as client:
        for _ in range(3):
            await client.send("input.text", text=TEXT)
            await client.send("input.done")
        await client.send("input.cancel")
        ends = [(await client.hear()).events[-1] for _ in range(3)]
    assert [end["status"] for end in ends] == ["cancelled"] * 3
    assert len(backend.requests) <= 1


async def test_a_client_that_leaves_frees_both_stages(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    async with serving(listening, graph.backend, {}) as client:
        await client.send("input.text", text=TEXT * 9)
        await client.hear("audio.start")
        assert not graph.idle()
        client.socket.transport.abort()
        assert await eventually(graph.idle)


async def test_a_client_that_does_not_read_is_left(listening: Any) -> None:
    backend = ScriptedBackend()
    noise = np.random.default_rng(0).bytes(1 << 20)  # silence would be compressed to nothing
    backend.script = repeat(SpeechDelta(pcm=noise))  # type: ignore[assignment]
    async with serving(listening, backend, {}, text_stream_idle_s=0.3) as client:
        await client.send("input.text", text=TEXT)
        await client.send("input.done")
        client.socket.transport.pause_reading()  # type: ignore[attr-defined]
        assert await eventually(lambda: backend.open == 1)
        assert await eventually(lambda: backend.open == 0, within_s=5)
        client.socket.transport.abort()


async def test_a_client_that_listens_for_long_is_not_idle(graph: Graph, listening: Any) -> None:
    graph.thinker._seconds_per_delta = 0.05
    async with serving(listening, graph.backend, {}, text_stream_idle_s=0.2) as client:
        heard = await client.say(TEXT)
        assert heard.events[-1]["status"] == "completed"


@pytest.mark.parametrize("config", [None, {}])
async def test_a_client_that_sends_nothing_is_left(
    graph: Graph, listening: Any, config: dict[str, Any] | None
) -> None:
    async with serving(listening, graph.backend, config, text_stream_idle_s=0.1) as client:
        assert await close_code(client) == 1001


async def test_a_text_that_is_left_unfinished_does_not_hold_the_connection(
    graph: Graph, listening: Any
) -> None:
    async with serving(listening, graph.backend, {}, text_stream_idle_s=0.1) as client:
        await client.send("input.text", text="Unfinished")
        assert await close_code(client) == 1001
    assert graph.idle()


async def test_session_close_ends_the_connection(here: Served) -> None:
    async with connected(here.url, {}) as client:
        await client.send("session.close")
        assert await close_code(client) == 1000


@pytest.mark.parametrize(
    ("error", "code"), [(EngineFailed("it died"), "engine_failed"), (ServerFull(), "server_full")]
)
async def test_a_text_that_fails_ends_with_an_error_and_the_next_one_may_come(
    listening: Any, error: Exception, code: str
) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\1\0" * 960), error)
    async with serving(listening, backend, {}) as client:
        for _ in range(2):
            heard = await client.say(TEXT)
            assert heard.kinds() == ["audio.start", "error", "audio.done", "session.done"]
            assert heard.events[1]["error"]["code"] == code
            assert heard.events[2]["error"] is True
            assert heard.events[3]["status"] == "failed"
    assert backend.open == 0


async def test_a_text_that_the_model_says_nothing_for_fails(listening: Any) -> None:
    backend = ScriptedBackend(SpeechDelta(text="silent"), SpeechDelta(finish_reason="stop"))
    async with serving(listening, backend, {}) as client:
        heard = await client.say(TEXT)
        (error,) = [event for event in heard.events if event["type"] == "error"]
        assert error["error"]["code"] == "no_audio"
        assert heard.events[-1]["status"] == "failed"


async def test_a_replica_that_stops_closes_with_the_code_of_a_restart(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    app = create_http_app(graph.backend, graph.settings)
    async with listening(app) as url, connected(url, {}) as client:
        await client.send("input.text", text=TEXT * 9)
        await client.hear("audio.start")
        app.state.sessions.drain()
        assert await close_code(client) == 1012
        assert await eventually(graph.idle)
        with pytest.raises(InvalidStatus) as refused:
            async with connected(url):
                pass
        assert refused.value.response.status_code == 429
