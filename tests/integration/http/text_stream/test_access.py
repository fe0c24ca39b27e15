"""Who may connect, before the upgrade."""

from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import MODEL
from tests.integration.http.text_stream.client import PATH, SENTENCES, Client, connected


async def test_a_key_is_asked_for_before_the_upgrade(graph: Graph, listening: Any) -> None:
    app = create_http_app(graph.backend, HttpSettings(models=(MODEL,), api_keys=("sk-right",)))
    async with listening(app) as url:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(url):
                pass
        assert refused.value.response.status_code == 401
        headers = {"Authorization": "Bearer sk-right"}
        async with connect(url.replace("http", "ws") + PATH, additional_headers=headers) as socket:
            await Client(socket).send("session.config")
            assert (await Client(socket).event())["type"] == "session.configured"


async def test_a_key_s_seconds_of_sound_count_text_by_text(graph: Graph, listening: Any) -> None:
    settings = {"api_keys": {"anna": "sk-anna"}, "key_limits": {"audio_s_per_minute": 2}}
    app = create_http_app(graph.backend, HttpSettings(models=(MODEL,), **settings))  # type: ignore[arg-type]
    headers = {"Authorization": "Bearer sk-anna"}
    async with (
        listening(app) as url,
        connect(url.replace("http", "ws") + PATH, additional_headers=headers) as socket,
    ):
        client = Client(socket)
        await client.send("session.config", response_format="pcm")
        assert (await client.say(SENTENCES[0])).events[-1]["status"] == "completed"
        refused = await client.say(SENTENCES[1])
        assert refused.events[0]["error"]["code"] == "rate_limit_exceeded"


async def test_a_server_that_is_not_ready_or_cannot_speak_says_so_before_the_upgrade(
    listening: Any,
) -> None:
    not_ready = ScriptedBackend()
    not_ready.is_ready = False
    for backend, status in ((not_ready, 503), (FakeServeBackend(Graph().thinker, None), 400)):
        if isinstance(backend, FakeServeBackend):
            await backend.start()
        app = create_http_app(backend, HttpSettings(models=(MODEL,)))
        async with listening(app) as url:
            with pytest.raises(InvalidStatus) as refused:
                async with connected(url):
                    pass
            assert refused.value.response.status_code == status


async def test_a_browser_s_key_comes_as_a_subprotocol(graph: Graph, listening: Any) -> None:
    app = create_http_app(graph.backend, HttpSettings(models=(MODEL,), api_keys=("sk-right",)))
    offered = ["realtime", "openai-insecure-api-key.sk-right"]
    async with (
        listening(app) as url,
        connect(url.replace("http", "ws") + PATH, subprotocols=offered) as socket,  # type: ignore[arg-type]
    ):
        assert socket.subprotocol == "realtime"
