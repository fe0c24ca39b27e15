"""`/v1/audio/speech` through OpenAI's client."""

import base64

import httpx
import numpy as np
import pytest
from openai import AsyncOpenAI, BadRequestError

from deployments.messages import SpeechDelta
from deployments.thinker.fake import audio_tokens_of
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import MODEL, sse_data

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


@pytest.mark.parametrize("name", ["mp3", "opus", "aac", "flac"])
async def test_formats_to_come_are_refused_by_naming_those_there_are(
    openai: AsyncOpenAI, name: str
) -> None:
    with pytest.raises(BadRequestError, match="supported now: wav, pcm") as refused:
        await openai.audio.speech.create(
            model=MODEL,
            voice="anna",
            input="Hi",
            response_format=name,  # type: ignore[arg-type]
        )
    assert refused.value.param == "response_format"
    assert refused.value.code == "unsupported"


async def test_the_default_format_of_the_client_is_refused_with_advice(
    openai: AsyncOpenAI,
) -> None:
    with pytest.raises(BadRequestError, match="the default of OpenAI's clients is mp3"):
        await openai.audio.speech.create(model=MODEL, voice="anna", input="Hi")


@pytest.mark.parametrize("speed", [0.5, 2.0])
async def test_another_speed_is_refused(openai: AsyncOpenAI, speed: float) -> None:
    with pytest.raises(BadRequestError, match=r"speed=.* is not supported"):
        await openai.audio.speech.create(
            model=MODEL, voice="anna", input="Hi", response_format="pcm", speed=speed
        )


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


async def test_instructions_reach_the_prompt(scripted_raw) -> None:  # type: ignore[no-untyped-def]
    from deployments.thinker import tasks

    backend = ScriptedBackend(SpeechDelta(pcm=b"\0\0", finish_reason="stop"))
    body = {"model": MODEL, "input": "Hi", "response_format": "pcm", "instructions": "Whisper."}
    async with scripted_raw(backend) as client:
        await client.post("/v1/audio/speech", json=body)
    assert backend.thinker_requests[0].messages == tasks.speak("Hi", "Whisper.")
