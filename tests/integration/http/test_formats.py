"""Every format of every spoken answer, as clients decode it."""

import asyncio
import base64
import io
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from openai import AsyncOpenAI, OpenAI

from deployments.errors import EngineFailed
from deployments.messages import SpeechDelta
from deployments.thinker.fake import audio_tokens_of
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from serve_app.sound.encoding.format_table import FORMATS, AudioEncoder
from serve_app.sound.encoding.wav import wav_file
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, eventually, sse_data
from tests.integration.http.humming import humming
from tests.sounds import LEAD, assert_steady, assert_streamed_length, decoded, tone

SPEECH = ("mp3", "opus", "aac", "flac", "wav", "pcm")
CHAT = ("wav", "aac", "mp3", "flac", "opus", "pcm16")
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
TEXT = "Hello there, how are you?"
TOKENS = len(audio_tokens_of(TEXT))
SAMPLES = 960 * TOKENS


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(humming(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


def heard(data: bytes, form: str) -> np.ndarray:
    return decoded(wav_file(data) if form.startswith("pcm") else data)


async def spoken(client: httpx.AsyncClient, form: str, how: str) -> bytes:
    body = {"model": MODEL, "input": TEXT, "response_format": form, "stream_format": how}
    answer = await client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200
    if how == "audio":
        assert answer.headers["content-type"] == MEDIA_TYPES[form]
        return answer.content
    *deltas, done = sse_data(answer.text)
    assert done["type"] == "speech.audio.done"
    return b"".join(base64.b64decode(delta["audio"]) for delta in deltas)


@pytest.mark.parametrize("how", ["audio", "sse"])
@pytest.mark.parametrize("form", SPEECH)
async def test_a_streamed_answer_is_the_whole_tone_without_gap_or_click(
    client: httpx.AsyncClient, form: str, how: str
) -> None:
    sound = heard(await spoken(client, form, how), form)
    assert_streamed_length(len(sound), TOKENS, form)
    assert_steady(sound, SAMPLES, LEAD.get(form, 0))


@pytest.mark.parametrize("form", CHAT)
async def test_a_whole_chat_answer_has_the_exact_length_where_its_format_can_say_it(
    client: httpx.AsyncClient, form: str
) -> None:
    body = {
        "model": MODEL,
        "modalities": ["text", "audio"],
        "audio": {"voice": "default", "format": form},
        "messages": [{"role": "user", "content": TEXT}],
    }
    answer = await client.post("/v1/chat/completions", json=body)
    data = base64.b64decode(answer.json()["choices"][0]["message"]["audio"]["data"])
    sound = heard(data, form)
    if form == "aac":
        assert_streamed_length(len(sound), TOKENS, form)
        assert_steady(sound, SAMPLES, LEAD["aac"])
        return
    assert len(sound) == SAMPLES
    assert_steady(sound, SAMPLES, lead=0)
    if form != "pcm16":
        info = soundfile.info(io.BytesIO(data))
        assert info.frames * 24_000 / info.samplerate == SAMPLES


@pytest.mark.parametrize("form", SPEECH)
async def test_the_first_sound_leaves_while_the_rest_is_still_made(
    listening: Callable[[Any], Any], form: str
) -> None:
    rest = asyncio.Event()

    class Waiting(ScriptedBackend):
        async def _play(self) -> AsyncGenerator[object]:
            yield SpeechDelta(pcm=tone(4800))  # Token2Wav's first chunk: 200 ms
            await rest.wait()
            yield SpeechDelta(pcm=tone(4800, 4800), finish_reason="stop")

    app = create_http_app(Waiting(), HttpSettings(models=(MODEL,)))
    body = {"model": MODEL, "input": TEXT, "response_format": form}
    async with (
        listening(app) as url,
        httpx.AsyncClient(base_url=url) as client,
        client.stream("POST", "/v1/audio/speech", json=body) as answer,
    ):
        pieces = answer.aiter_bytes()
        first = await anext(pieces)
        rest.set()
        assert len(heard(first, form)) >= 0.1 * 24_000
        data = first + b"".join([piece async for piece in pieces])
    assert_streamed_length(len(heard(data, form)), 10, form)


async def test_the_status_waits_for_a_chunk_that_fills_a_frame() -> None:
    """40 ms of sound fill no frame of AAC: an error right after them is still a status."""
    backend = ScriptedBackend(SpeechDelta(pcm=tone(960)), EngineFailed("it died"))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        body = {"model": MODEL, "input": TEXT, "response_format": "aac"}
        assert (await client.post("/v1/audio/speech", json=body)).status_code == 503


async def test_the_default_format_is_mp3(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/audio/speech", json={"model": MODEL, "input": TEXT})
    assert answer.headers["content-type"] == "audio/mpeg"
    assert_steady(decoded(answer.content), SAMPLES, LEAD["mp3"])


async def test_openai_s_clients_need_no_response_format(listening: Callable[[Any], Any]) -> None:
    def say(url: str) -> list[bytes]:
        with OpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0) as openai:
            asked: Any = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT}
            whole = openai.audio.speech.create(**asked).content
            with openai.audio.speech.with_streaming_response.create(**asked) as answer:
                return [whole, b"".join(answer.iter_bytes())]

    async with listening(humming()) as url:
        sounds = await asyncio.to_thread(say, url)
    for sound in sounds:
        assert_steady(decoded(sound), SAMPLES, LEAD["mp3"])


async def test_openai_s_asynchronous_client_needs_none_either() -> None:
    async with openai_client(humming()) as openai:
        asked: Any = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT}
        whole = (await openai.audio.speech.create(**asked)).content
        async with openai.audio.speech.with_streaming_response.create(**asked) as answer:
            streamed = b"".join([piece async for piece in answer.iter_bytes()])
    assert_steady(decoded(whole), SAMPLES, LEAD["mp3"])
    assert_steady(decoded(streamed), SAMPLES, LEAD["mp3"])


@pytest.fixture
def open_encoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """How many MP3 encoders are open."""
    lock, ids = threading.Lock(), set()
    make = FORMATS["mp3"].encoder

    def counted() -> AudioEncoder:
        encoder = make()
        close = encoder.close

        def close_and_count() -> None:
            close()
            with lock:
                ids.discard(id(encoder))

        encoder.close = close_and_count  # type: ignore[method-assign]
        with lock:
            ids.add(id(encoder))
        return encoder

    monkeypatch.setitem(FORMATS, "mp3", replace(FORMATS["mp3"], encoder=counted))
    yield lambda: len(ids)


@pytest.mark.parametrize("how", ["audio", "sse"])
async def test_a_client_that_leaves_frees_the_encoder(
    listening: Callable[[Any], Any], open_encoders: Callable[[], int], how: str
) -> None:
    graph = Graph(seconds_per_delta=0.05)
    await graph.backend.start()
    body = {"model": MODEL, "input": "A rather long text. " * 8, "stream_format": how}
    async with listening(graph.app) as url, httpx.AsyncClient(base_url=url) as client:
        async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
            async for _ in answer.aiter_bytes():
                break
            assert open_encoders() == 1
        assert await eventually(graph.idle)
        assert await eventually(lambda: open_encoders() == 0)


async def test_a_failure_in_mid_sound_breaks_the_body_and_frees_the_encoder(
    listening: Callable[[Any], Any], open_encoders: Callable[[], int]
) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=tone(9600)), EngineFailed("it died"))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    body = {"model": MODEL, "input": TEXT}
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await client.post("/v1/audio/speech", json=body)
        events, body = "", body | {"stream_format": "sse"}
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
                async for piece in answer.aiter_text():
                    events += piece
    *_, error = sse_data(events)
    assert error["error"]["code"] == "engine_failed"
    assert await eventually(lambda: open_encoders() == 0)


async def test_an_encoder_that_fails_breaks_the_body(
    listening: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def encode(self, pcm: bytes) -> bytes:
            if pcm == b"\0\0":
                raise ValueError("the codec gave up")
            return b"sound"

        def finish(self) -> bytes:
            return b""

        def close(self) -> None:
            pass

    monkeypatch.setitem(FORMATS, "mp3", replace(FORMATS["mp3"], encoder=Failing))
    backend = ScriptedBackend(
        SpeechDelta(pcm=tone(960)), SpeechDelta(pcm=b"\0\0", finish_reason="stop")
    )
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    body = {"model": MODEL, "input": TEXT}
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await client.post("/v1/audio/speech", json=body)
    assert backend.open == 0


async def test_many_answers_in_many_formats_at_once_do_not_disturb_one_another(
    openai: AsyncOpenAI, graph: Graph
) -> None:
    """Each text has a sound of its own: what FLAC and WAV carry must be that of their text."""

    async def say(number: int, form: Any) -> bytes:
        answer = await openai.audio.speech.create(
            model=MODEL, voice="anna", input=f"Number {number}.", response_format=form
        )
        return answer.content

    asked = [(number, form) for number in range(6) for form in SPEECH]
    answers = await asyncio.gather(*(say(*one) for one in asked))
    for (number, form), data in zip(asked, answers, strict=True):
        tokens = audio_tokens_of(f"Number {number}.")
        sound = heard(data, form)
        assert_streamed_length(len(sound), len(tokens), form)
        if form in ("flac", "wav", "pcm"):
            pcm = np.round(32768 * sound[: 960 * len(tokens)])
            assert np.array_equal(pcm, np.repeat(np.array(tokens), 960))
    assert graph.idle()
