"""API keys over HTTP: what a key may do, how much of it, and what is its own."""

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, AuthenticationError, BadRequestError, NotFoundError, RateLimitError

from deployments.messages import SpeechDelta
from deployments.voice_store import VoiceStore
from serve_app.http.application import create_http_app
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, wav_of

SAMPLE = Path("deployments/token2wav/assets/default_voice.wav").read_bytes()
KEYS = {"anna": "annas-key", "ben": f"sha256:{hashlib.sha256(b'bens-key').hexdigest()}"}
SPEECH = {"model": MODEL, "input": "Hi", "response_format": "pcm"}


@asynccontextmanager
async def raw_client(app: Any, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://server", headers=headers
    ) as client:
        yield client


async def started(**settings: Any) -> Graph:
    graph = Graph(**{"api_keys": KEYS, **settings})
    await graph.backend.start()
    return graph


async def say(openai: AsyncOpenAI, voice: str = "anna", text: str = "Hi") -> bytes:
    answer = await openai.audio.speech.create(
        model=MODEL, voice=voice, input=text, response_format="pcm"
    )
    return answer.content


async def test_a_key_is_known_by_its_value_or_its_hash_and_a_hash_is_no_key() -> None:
    graph = await started()
    for key in ("annas-key", "bens-key"):
        async with openai_client(graph.app, key=key) as openai:
            assert await say(openai)
    for key in ("ben", KEYS["ben"], "annas-ke"):
        async with openai_client(graph.app, key=key) as openai:
            with pytest.raises(AuthenticationError):
                await say(openai)


async def test_the_path_that_livekit_opens_beforehand_is_answered_and_needs_the_key() -> None:
    for keys, key in (({}, None), (KEYS, "annas-key")):
        graph = await started(api_keys=keys)
        async with raw_client(graph.app, key) as client:
            for method, path in (("GET", "/v1/"), ("GET", "/v1"), ("HEAD", "/v1/")):
                answer = await client.request(method, path)
                assert answer.status_code == 200 and len(answer.content) < 200
    async with raw_client(graph.app) as client:
        assert [(await client.get(path)).status_code for path in ("/v1/", "/v1")] == [401, 401]


async def test_what_is_over_a_limit_is_a_429_that_says_when_to_try_again() -> None:
    graph = await started(limits_of_key={"anna": {"requests_per_minute": 2}})
    async with openai_client(graph.app, key="annas-key") as openai:
        assert await say(openai) and await say(openai)
        with pytest.raises(RateLimitError, match="2 requests in a minute") as refused:
            await say(openai)
        assert await openai.models.list()  # reading counts for nothing
    assert refused.value.code == "rate_limit_exceeded"
    assert 29 <= int(refused.value.response.headers["retry-after"]) <= 30
    async with openai_client(graph.app, key="bens-key") as openai:
        for _ in range(3):
            assert await say(openai)


async def test_an_answer_says_what_is_left_of_its_key_s_requests() -> None:
    graph = await started(limits_of_key={"anna": {"requests_per_minute": 3}})
    async with raw_client(graph.app, "annas-key") as client:
        answers = [await client.post("/v1/audio/speech", json=SPEECH) for _ in range(4)]
        refused = await client.post("/v1/audio/speech", json={})
        read = await client.get("/v1/models")
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    left = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    assert left == ["2", "1", "0", "0"]
    for answer in (*answers, refused):
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        minutes, _, seconds = answer.headers["x-ratelimit-reset-requests"].rpartition("m")
        assert 19 <= 60 * int(minutes or 0) + float(seconds.removesuffix("s")) <= 60
    assert not [name for name in read.headers if name.startswith("x-ratelimit")]
    async with raw_client(graph.app, "bens-key") as client:
        unlimited = await client.post("/v1/audio/speech", json=SPEECH)
    assert not [name for name in unlimited.headers if name.startswith("x-ratelimit")]


async def test_a_stream_counts_until_its_answer_has_ended(listening: Any) -> None:
    graph = Graph(seconds_per_delta=0.05, api_keys=KEYS, key_limits={"concurrent_streams": 1})
    await graph.backend.start()
    headers = {"Authorization": "Bearer annas-key"}
    long = SPEECH | {"input": "A rather long text. " * 5}
    async with (
        listening(graph.app) as url,
        httpx.AsyncClient(base_url=url, headers=headers) as client,
    ):
        async with client.stream("POST", "/v1/audio/speech", json=long) as first:
            assert first.status_code == 200
            second = await client.post("/v1/audio/speech", json=SPEECH)
            assert (second.status_code, second.headers["retry-after"]) == (429, "1")
            others = {"Authorization": "Bearer bens-key"}
            other = await client.post("/v1/audio/speech", json=SPEECH, headers=others)
            assert other.status_code == 200
            await first.aread()
        assert (await client.post("/v1/audio/speech", json=SPEECH)).status_code == 200


async def heard(openai: AsyncOpenAI) -> None:
    recording = ("a.wav", wav_of(seconds=3.5))
    await openai.audio.transcriptions.create(model=MODEL, file=recording)


async def spoken(openai: AsyncOpenAI) -> None:
    await say(openai, text="Twenty letters of it.")  # over three seconds


@pytest.mark.parametrize("use", [heard, spoken])
async def test_sound_that_is_heard_and_sound_that_is_spoken_count(
    use: Callable[[AsyncOpenAI], Any],
) -> None:
    graph = await started(key_limits={"audio_s_per_hour": 4.0})
    async with openai_client(graph.app, key="annas-key") as openai:
        await use(openai)
        with pytest.raises(RateLimitError, match="4 s of audio in an hour") as refused:
            await heard(openai)
    assert int(refused.value.response.headers["retry-after"]) > 60
    assert graph.idle()
    async with openai_client(graph.app, key="bens-key") as openai:
        await use(openai)


async def test_an_answer_that_breaks_frees_the_stream_of_its_key(scripted_raw: Any) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\1\0"), KeyError("x"))
    limits = {"api_keys": KEYS, "key_limits": {"concurrent_streams": 1, "audio_s_per_hour": 9}}
    async with scripted_raw(backend, **limits) as client:
        client.headers["Authorization"] = "Bearer annas-key"
        for _ in range(3):
            assert (await client.post("/v1/audio/speech", json=SPEECH)).status_code == 200
    assert backend.open == 0


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_a_websocket_needs_a_key_too(extensions: dict[str, Any]) -> None:
    graph = await started()
    scope = {"type": "websocket", "path": "/v1/realtime", "headers": [], "extensions": extensions}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    await graph.app(scope, receive, send)
    if extensions:
        assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 401)
    else:
        accepted, error, closed = sent
        assert accepted["type"] == "websocket.accept"
        assert json.loads(error["text"])["error"]["code"] == "invalid_api_key"
        assert (closed["type"], closed["code"]) == ("websocket.close", 1008)


@pytest.fixture
async def of_two_keys(tmp_path: Path) -> AsyncIterator[tuple[AsyncOpenAI, AsyncOpenAI, Graph]]:
    """The clients of two keys, and their server."""
    graph = await started()
    graph.app = create_http_app(
        graph.backend, graph.settings, voice_store=VoiceStore(str(tmp_path))
    )
    async with (
        openai_client(graph.app, key="annas-key") as annas,
        openai_client(graph.app, key="bens-key") as bens,
    ):
        yield annas, bens, graph


async def upload(openai: AsyncOpenAI, name: str) -> str:
    sample = ("sample.wav", SAMPLE)
    return (await openai.audio.voices.create(name=name, audio_sample=sample, consent="c")).id


async def listed(graph: Graph, key: str) -> set[str]:
    async with raw_client(graph.app, key) as client:
        return {voice["id"] for voice in (await client.get("/v1/audio/voices")).json()["voices"]}


async def test_a_key_lists_speaks_with_and_deletes_its_own_voices_alone(
    of_two_keys: tuple[AsyncOpenAI, AsyncOpenAI, Graph],
) -> None:
    annas, bens, graph = of_two_keys
    hers, his = await upload(annas, "me"), await upload(bens, "me")  # the same name
    assert hers != his
    assert hers in await listed(graph, "annas-key") and hers not in await listed(graph, "bens-key")
    for theirs in (hers, "me"):
        assert await say(annas, theirs)
    with pytest.raises(BadRequestError, match="no voice"):
        await say(bens, hers)
    for key, status in (("annas-key", 200), ("bens-key", 404)):
        async with raw_client(graph.app, key) as client:
            assert (await client.get(f"/v1/audio/voices/{hers}")).status_code == status
    with pytest.raises(NotFoundError):
        await bens.audio.voices.delete(hers)
    await annas.audio.voices.delete(hers)
    assert await say(bens, "me")


async def test_configured_voices_are_everybody_s_and_nobody_deletes_them(
    of_two_keys: tuple[AsyncOpenAI, AsyncOpenAI, Graph],
) -> None:
    annas, bens, graph = of_two_keys
    for key, openai in (("annas-key", annas), ("bens-key", bens)):
        assert "anna" in await listed(graph, key)
        assert await say(openai, "anna")
        with pytest.raises(BadRequestError, match="cannot be deleted"):
            await openai.audio.voices.delete("anna")


async def test_a_list_that_needs_no_key_shows_a_key_its_own_voices_and_others_none(
    tmp_path: Path,
) -> None:
    graph = await started(voices_listed_without_key=True)
    store = VoiceStore(str(tmp_path))
    graph.app = create_http_app(graph.backend, graph.settings, voice_store=store)
    async with openai_client(graph.app, key="annas-key") as openai:
        voice = await upload(openai, "me")
    assert voice in await listed(graph, "annas-key")
    for key in ("bens-key", "no-key"):
        assert "anna" in await listed(graph, key) and voice not in await listed(graph, key)
