"""What a real server and a real connection show: aborted bodies, clients that leave."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from openai import APIConnectionError, AsyncOpenAI

from deployments.errors import EngineFailed
from deployments.messages import SpeechDelta
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import MODEL, eventually

SPEECH = {"model": MODEL, "input": "A rather long text. " * 8, "response_format": "wav"}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Quite a long story, please"}]}


async def test_a_failure_in_mid_sound_breaks_the_connection(listening: Any) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\1\0" * 960), EngineFailed("it died"))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    received = b""
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            async with client.stream("POST", "/v1/audio/speech", json=SPEECH) as answer:
                assert answer.status_code == 200
                async for piece in answer.aiter_bytes():
                    received += piece
    assert received[44:] == b"\1\0" * 960
    assert backend.open == 0


async def test_the_failure_leaves_the_application_for_the_server_to_see() -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\1\0"), EngineFailed("it died"))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=True), base_url="http://server"
    ) as client:
        with pytest.raises((EngineFailed, RuntimeError)):
            await client.post("/v1/audio/speech", json=SPEECH)


async def test_openai_s_client_sees_the_broken_connection_too(listening: Any) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\1\0"), EngineFailed("it died"))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with (
        listening(app) as url,
        AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0) as openai,
    ):
        with pytest.raises((APIConnectionError, httpx.RemoteProtocolError)):
            await openai.audio.speech.create(
                model=MODEL, voice="anna", input="Hi", response_format="pcm"
            )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/audio/speech", SPEECH),
        ("/v1/audio/speech", SPEECH | {"stream_format": "sse"}),
        ("/v1/chat/completions", CHAT | {"stream": True}),
    ],
)
async def test_a_client_that_leaves_in_mid_stream_frees_both_stages(
    listening: Any, path: str, body: dict[str, Any]
) -> None:
    graph = Graph(seconds_per_delta=0.05)  # the whole answer would take over a second
    await graph.backend.start()
    async with listening(graph.app) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", path, json=body) as answer:
            async for _ in answer.aiter_bytes():
                break
            assert not graph.idle()
        assert await eventually(graph.idle, within_s=0.3)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/audio/speech", SPEECH),
        ("/v1/audio/speech", SPEECH | {"stream_format": "sse"}),
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", CHAT | {"stream": True}),
    ],
)
async def test_a_client_that_leaves_before_the_first_chunk_frees_both_stages(
    listening: Any, path: str, body: dict[str, Any]
) -> None:
    graph = Graph(seconds_per_delta=30)
    await graph.backend.start()
    async with listening(graph.app) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(path, json=body, timeout=httpx.Timeout(5, read=0.15))
        assert await eventually(graph.idle, within_s=0.3)


async def test_a_client_that_leaves_while_no_chunk_is_due_frees_the_stream(
    listening: Any,
) -> None:
    class Pausing(ScriptedBackend):
        async def _play(self) -> Any:
            self.open += 1
            try:
                yield SpeechDelta(pcm=b"\1\0")
                await asyncio.sleep(30)
            finally:
                self.open -= 1

    backend = Pausing()
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", "/v1/audio/speech", json=SPEECH) as answer:
            async for _ in answer.aiter_bytes():
                break
            assert backend.open == 1
        assert await eventually(lambda: backend.open == 0, within_s=0.3)


async def test_the_first_sound_arrives_before_the_answer_is_complete(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.02)
    await graph.backend.start()
    async with listening(graph.app) as url, httpx.AsyncClient(base_url=url) as client:
        begin = time.monotonic()
        first = None
        async with client.stream("POST", "/v1/audio/speech", json=SPEECH) as answer:
            async for _ in answer.aiter_bytes():
                first = first or time.monotonic() - begin
        whole = time.monotonic() - begin
    assert first is not None and first < whole / 3


async def test_eight_streams_at_once_do_not_mix(listening: Any) -> None:
    import numpy as np

    from deployments.thinker.fake import audio_tokens_of

    graph = Graph(seconds_per_delta=0.002)
    await graph.backend.start()
    texts = [f"Text number {index} " * (index + 1) for index in range(8)]

    async def say(openai: AsyncOpenAI, text: str) -> bytes:
        answer = await openai.audio.speech.create(
            model=MODEL, voice="anna", input=text, response_format="pcm"
        )
        return answer.content

    async with (
        listening(graph.app) as url,
        AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0) as openai,
    ):
        answers = await asyncio.gather(*(say(openai, text) for text in texts))
    for text, pcm in zip(texts, answers, strict=True):
        tokens = np.array(audio_tokens_of(text), dtype="<i2")
        assert pcm == np.repeat(tokens, 960).tobytes()


async def test_a_request_is_handed_to_no_thread(
    raw: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise AssertionError("a burst of requests would wait for threads")

    monkeypatch.setattr("anyio.to_thread.run_sync", refuse)  # where plain functions are run
    for path, body in (
        ("/v1/audio/speech", SPEECH),
        ("/v1/audio/speech", SPEECH | {"stream_format": "sse"}),
        ("/v1/chat/completions", CHAT | {"stream": True}),
    ):
        answer = await raw.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert answer.content
