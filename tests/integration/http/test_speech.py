"""`/v1/audio/speech` through OpenAI's client."""

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI, BadRequestError, UnprocessableEntityError

from deployments.errors import SpeechTooLong
from deployments.messages import Message, Role, SpeechDelta, SpeechRequest, TextPart, Usage
from deployments.thinker.fake import audio_tokens_of
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, sse_data
from tests.integration.http.humming import humming
from tests.sounds import TONE_HZ, pitch_hz

TEXT = "Hello there, how are you?"


def pcm_of(text: str) -> bytes:
    """What the fake engines say for `text`."""
    return np.repeat(np.array(audio_tokens_of(text), dtype="<i2"), 960).tobytes()


async def test_pcm_is_exactly_the_synthesised_samples(openai: AsyncOpenAI, graph: Graph) -> None:
    answer = await openai.audio.speech.create(
        model=MODEL, voice="anna", input=TEXT, response_format="pcm"
    )
    assert answer.content == pcm_of(TEXT)
    assert answer.response.headers["content-type"] == "audio/pcm"
    assert graph.idle()


async def test_wav_streams_with_a_header_of_unknown_size(openai: AsyncOpenAI) -> None:
    async with openai.audio.speech.with_streaming_response.create(
        model=MODEL, voice={"id": "anna"}, input=TEXT, response_format="wav"
    ) as answer:
        pieces = [piece async for piece in answer.iter_bytes()]
    wav = b"".join(pieces)
    assert wav[:4] == b"RIFF" and wav[4:8] == wav[40:44] == b"\xff" * 4
    assert wav[44:] == pcm_of(TEXT)
    assert answer.headers["content-type"] == "audio/wav"


async def test_sse_carries_the_sound_in_deltas_and_the_usage_last(raw: httpx.AsyncClient) -> None:
    body = {"model": MODEL, "input": TEXT, "response_format": "pcm", "stream_format": "sse"}
    answer = await raw.post("/v1/audio/speech", json=body)
    *deltas, done = sse_data(answer.text)
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(delta["audio"]) for delta in deltas) == pcm_of(TEXT)
    assert len(deltas) > 1
    tokens = len(audio_tokens_of(TEXT))
    assert done["type"] == "speech.audio.done"
    assert done["usage"]["output_tokens"] == tokens
    assert done["usage"]["total_tokens"] == tokens + done["usage"]["input_tokens"]


async def test_no_voice_is_the_default_voice(raw: httpx.AsyncClient) -> None:
    body = {"model": MODEL, "input": "Hi", "response_format": "pcm"}
    assert (await raw.post("/v1/audio/speech", json=body)).content == pcm_of("Hi")


async def test_text_of_exactly_the_limit_is_spoken_and_one_more_character_refused(
    openai: AsyncOpenAI,
) -> None:
    async def say(length: int) -> bytes:
        answer = await openai.audio.speech.create(
            model=MODEL, voice="anna", input="x" * length, response_format="pcm"
        )
        return answer.content

    with pytest.raises(BadRequestError, match="4097 characters, the limit is 4096") as refused:
        await say(4097)
    assert refused.value.param == "input"
    assert await say(4096)


async def test_an_unknown_format_is_refused_by_naming_those_there_are(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="'mp3', 'opus', 'aac', 'flac', 'wav' or") as refused:
        await openai.audio.speech.create(
            model=MODEL,
            voice="anna",
            input="Hi",
            response_format="midi",  # type: ignore[arg-type]
        )
    assert refused.value.param == "response_format"
    assert refused.value.code == "invalid_value"


@pytest.mark.parametrize("speed", [0.25, 0.8, 1.5, 4.0])
async def test_speed_changes_the_length_and_not_the_pitch(speed: float) -> None:
    async with openai_client(humming()) as openai:
        answer = await openai.audio.speech.create(
            model=MODEL, voice="default", input=TEXT, response_format="pcm", speed=speed
        )
    spoken = 960 * len(audio_tokens_of(TEXT))
    assert len(answer.content) == 2 * round(spoken / speed)
    sound = np.frombuffer(answer.content, "<i2") / 32768
    assert pitch_hz(sound) == pytest.approx(TONE_HZ, rel=0.005)


async def test_the_graph_learns_how_fast_its_sound_is_played(
    raw: httpx.AsyncClient, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SpeechRequest] = []
    speak = graph.backend.speech

    def noting(request: SpeechRequest) -> Any:
        asked.append(request)
        return speak(request)

    monkeypatch.setattr(graph.backend, "speech", noting)
    for speed in ({}, {"speed": 1}, {"speed": 2.5}, {"speed": None}):
        assert (await raw.post("/v1/audio/speech", json=SAY | speed)).status_code == 200
    assert [request.speed for request in asked] == [1, 1, 2.5, 1]


@pytest.mark.parametrize("speed", [0.2, 4.1, float("nan"), "fast"])
async def test_a_speed_that_cannot_be_is_refused(raw: httpx.AsyncClient, speed: object) -> None:
    content = json.dumps(SAY | {"speed": speed})
    headers = {"content-type": "application/json"}
    answer = await raw.post("/v1/audio/speech", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "speed")


async def test_speed_one_and_unknown_fields_change_nothing(openai: AsyncOpenAI) -> None:
    answer = await openai.audio.speech.create(
        model=MODEL,
        voice="anna",
        input="Hi",
        response_format="pcm",
        speed=1.0,
        extra_body={"colour": "blue"},
    )
    assert answer.content == pcm_of("Hi")


async def test_an_unknown_voice_is_refused_with_the_known_ones(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="known voices: default, anna") as refused:
        await openai.audio.speech.create(
            model=MODEL, voice="nobody", input="Hi", response_format="wav"
        )
    assert refused.value.param == "voice"
    assert refused.value.code == "voice_not_found"


@pytest.mark.parametrize(
    ("instructions", "system"),
    [
        ("Whisper.", "以自然的语速读出下面的文字。\nWhisper."),
        ("", "以自然的语速读出下面的文字。\n"),
        (None, "以自然的语速读出下面的文字。\n"),  # the agents SDK's way of saying none
    ],
)
async def test_the_model_gets_instructions_after_the_task_and_the_text_alone_as_what_is_said(
    scripted_raw: Any, instructions: str | None, system: str
) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\0\0", finish_reason="stop"))
    body = {"model": MODEL, "input": "Hi", "response_format": "pcm", "instructions": instructions}
    async with scripted_raw(backend) as client:
        await client.post("/v1/audio/speech", json=body)
    (request,) = backend.thinker_requests
    assert request.messages == (
        Message(Role.SYSTEM, (TextPart(system),)),
        Message(Role.HUMAN, (TextPart("Hi"),)),
    )


SAY = {"model": MODEL, "input": TEXT, "response_format": "pcm"}
SOUND = SpeechDelta(pcm=b"\1\0" * 960)
CUT = SpeechDelta(pcm=b"\2\0" * 960, finish_reason="length", usage=Usage(9, 120))


async def test_sampling_is_as_in_a_chat_and_the_limit_is_that_of_the_text(
    scripted_raw: Any,
) -> None:
    backend = ScriptedBackend(SpeechDelta(pcm=b"\0\0", finish_reason="stop"))
    async with scripted_raw(backend) as client:
        await client.post("/v1/audio/speech", json=SAY | {"seed": -7, "temperature": 0})
        await client.post("/v1/audio/speech", json=SAY | {"input": "12 " + "long " * 100})
    short, long = backend.thinker_requests
    assert (short.sampling.seed, short.sampling.temperature) == (-7, 0)
    assert (long.sampling.seed, long.sampling.temperature) == (None, None)
    assert short.sampling.max_tokens and long.sampling.max_tokens
    assert 1 < short.needed_tokens < short.sampling.max_tokens < 400
    assert 500 < long.needed_tokens < long.sampling.max_tokens


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -1), ("temperature", 3), ("seed", 2**63), ("seed", 0.5)]
)
async def test_sampling_that_cannot_be_is_refused(
    raw: httpx.AsyncClient, field: str, value: object
) -> None:
    answer = await raw.post("/v1/audio/speech", json=SAY | {field: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    "text", [" ", "\n\t\u00a0", "...", "¿?!", "😀🎉", "\0\x07", "— 👍🏽 …", "\u200b"]
)
async def test_a_text_without_a_letter_or_a_digit_is_refused(
    openai: AsyncOpenAI, text: str
) -> None:
    with pytest.raises(BadRequestError, match="nothing to speak") as refused:
        await openai.audio.speech.create(
            model=MODEL, voice="anna", input=text, response_format="pcm"
        )
    assert refused.value.param == "input"


@pytest.mark.parametrize("text", ["7", "é", "你", "ไ", "…no…", "½"])
async def test_a_text_of_one_letter_or_digit_is_spoken(openai: AsyncOpenAI, text: str) -> None:
    answer = await openai.audio.speech.create(
        model=MODEL, voice="anna", input=text, response_format="pcm"
    )
    assert answer.content == pcm_of(text)


async def test_speech_that_is_cut_breaks_the_connection_without_a_traceback(
    listening: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_http_app(ScriptedBackend(SOUND, CUT), HttpSettings(models=(MODEL,)))
    received = b""
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            async with client.stream("POST", "/v1/audio/speech", json=SAY) as answer:
                assert answer.status_code == 200
                async for piece in answer.aiter_bytes():
                    received += piece
    assert received == SOUND.pcm + CUT.pcm
    assert not [record for record in caplog.records if record.exc_info]


async def test_events_of_speech_that_is_cut_end_with_an_error_and_break_off(
    listening: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_http_app(ScriptedBackend(SOUND, CUT), HttpSettings(models=(MODEL,)))
    received = ""
    async with listening(app) as url, httpx.AsyncClient(base_url=url) as client:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            body = SAY | {"stream_format": "sse"}
            async with client.stream("POST", "/v1/audio/speech", json=body) as answer:
                async for piece in answer.aiter_text():
                    received += piece
    *deltas, last = sse_data(received)
    assert [delta["type"] for delta in deltas] == ["speech.audio.delta"] * 2
    assert (last["type"], last["error"]["code"]) == ("error", "answer_incomplete")
    assert "120 tokens" in last["error"]["message"]
    assert not [record for record in caplog.records if record.exc_info]


async def test_speech_that_is_cut_before_its_first_sound_is_a_422() -> None:
    silent = SpeechDelta(finish_reason="length", usage=Usage(9, 120))
    app = create_http_app(ScriptedBackend(silent), HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        with pytest.raises(UnprocessableEntityError, match="its end is missing"):
            await openai.audio.speech.create(
                model=MODEL, voice="anna", input="Hi", response_format="wav"
            )


async def test_a_passage_that_the_context_cannot_hold_is_a_400_before_any_sound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = Graph(max_passage_s=1000)
    await graph.backend.start()
    speak = graph.backend.speech

    def with_little_room(request: SpeechRequest) -> Any:
        if request.thinker.needed_tokens > 1000:
            raise SpeechTooLong(request.thinker.needed_tokens, 1000)
        return speak(request)

    monkeypatch.setattr(graph.backend, "speech", with_little_room)
    async with openai_client(graph.app) as openai:
        with pytest.raises(BadRequestError, match="the model's context leaves 1000") as refused:
            await openai.audio.speech.create(
                model=MODEL,
                voice="anna",
                input=("Please open the window. " * 171)[:4096],
                response_format="pcm",
            )
    assert refused.value.param == "input"
