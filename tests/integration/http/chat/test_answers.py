"""`/v1/chat/completions` through OpenAI's client: answers, written and spoken."""

import base64
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI, UnprocessableEntityError

from deployments.messages import (
    Message,
    Role,
    SpeechDelta,
    SpokenPart,
    ThinkerDelta,
    ToolCall,
    Usage,
)
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from serve_app.sound.encoding.wav import wav_header
from tests.integration.http.chat.asks import ASK, END, SPOKEN, pcm_of
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, wav_of


async def test_a_text_answer_is_whole(openai: AsyncOpenAI, graph: Graph) -> None:
    answer = await openai.chat.completions.create(model=MODEL, messages=ASK)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "How are you?"
    assert answer.choices[0].message.audio is None
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage and answer.usage.completion_tokens == len("How are you?")
    assert graph.idle()


async def test_a_text_answer_streams(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model=MODEL, messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    *pieces, finish, usage = chunks
    assert len({chunk.id for chunk in chunks}) == 1
    assert pieces[0].choices[0].delta.role == "assistant"
    texts = [piece.choices[0].delta.content or "" for piece in pieces]
    assert "".join(texts) == "How are you?" and len(texts) > 3
    assert finish.choices[0].finish_reason == "stop"
    assert usage.choices == [] and usage.usage and usage.usage.completion_tokens == 12


async def test_without_include_usage_no_chunk_carries_it(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(model=MODEL, messages=ASK, stream=True)
    chunks = [chunk async for chunk in stream]
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_a_spoken_answer_is_whole_as_wav(openai: AsyncOpenAI, graph: Graph) -> None:
    answer = await openai.chat.completions.create(
        model=MODEL,
        messages=ASK,
        modalities=["text", "audio"],
        audio={"voice": "anna", "format": "wav"},
    )
    message = answer.choices[0].message
    assert message.content is None
    assert message.audio and message.audio.transcript == "How are you?"
    pcm = pcm_of("How are you?")
    assert base64.b64decode(message.audio.data) == wav_header(len(pcm)) + pcm
    assert answer.usage and answer.usage.completion_tokens_details
    assert answer.usage.completion_tokens_details.audio_tokens == len(pcm) // 1920
    assert graph.idle()


async def test_a_spoken_answer_streams_id_first_and_expiry_last(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(model=MODEL, messages=ASK, stream=True, **SPOKEN)
    deltas = [chunk.choices[0].delta async for chunk in stream]
    audio = [delta.audio for delta in deltas if delta.audio]
    assert audio[0].id and audio[0].id.startswith("audio_")
    assert b"".join(base64.b64decode(a.data) for a in audio if a.data) == pcm_of("How are you?")
    assert sum(bool(a.data) for a in audio) > 1
    assert "".join(a.transcript or "" for a in audio) == "How are you?"
    assert [a.expires_at for a in audio if a.expires_at] == [audio[-1].expires_at]
    assert audio[-1].model_dump(exclude_none=True).keys() == {"expires_at"}
    assert not any(delta.content for delta in deltas)


async def test_recordings_in_the_conversation_are_heard(openai: AsyncOpenAI) -> None:
    data = base64.b64encode(wav_of(seconds=2.25, rate_hz=44_100)).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    answer = await openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": [{"type": "text", "text": "Listen:"}, part]}],  # type: ignore[list-item,misc]
    )
    assert answer.choices[0].message.content == "Listen: heard 2.25 s"


async def test_sampling_fields_reach_the_thinker(scripted_raw: Any) -> None:
    backend = ScriptedBackend(END)
    fields = {"temperature": 0.3, "top_p": 0.8, "seed": 7, "max_tokens": 50}
    body = {"model": MODEL, "messages": ASK, "stop": "END", **fields}
    async with scripted_raw(backend) as client:
        await client.post("/v1/chat/completions", json=body)
        await client.post("/v1/chat/completions", json=body | {"max_completion_tokens": 9})
    first, second = (request.sampling for request in backend.thinker_requests)
    assert {name: getattr(first, name) for name in fields} == fields
    assert first.stop == ("END",)
    assert second.max_tokens == 9


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_come_apart_from_the_answer(scripted_raw: Any, stream: bool) -> None:
    backend = ScriptedBackend(ThinkerDelta(reasoning="Hmm"), ThinkerDelta(text="Yes"), END)
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        answer: Any = await openai.chat.completions.create(model=MODEL, messages=ASK, stream=stream)
        if stream:
            messages = [chunk.choices[0].delta async for chunk in answer]
        else:
            messages = [answer.choices[0].message]
    assert "".join(m.content or "" for m in messages) == "Yes"
    thoughts = [(m.model_extra or {}).get("reasoning_content") or "" for m in messages]
    assert "".join(thoughts) == "Hmm"


async def test_a_spoken_answer_without_sound_that_nobody_asked_for_is_an_error(
    listening: Any,
) -> None:
    backend = ScriptedBackend(
        SpeechDelta(text="only text"), SpeechDelta(finish_reason="stop", usage=Usage(1, 2))
    )
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with listening(app) as url:
        openai = AsyncOpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
        with pytest.raises(UnprocessableEntityError, match="no audio"):
            await openai.chat.completions.create(model=MODEL, messages=ASK, **SPOKEN)
        stream = await openai.chat.completions.create(
            model=MODEL, messages=ASK, stream=True, **SPOKEN
        )
        with pytest.raises(APIError, match="no audio"):
            async for _ in stream:
                pass


LIMITS: list[Any] = [
    ("length", {"max_tokens": 1}),
    ("stop", {"stop": [" ", "e"]}),
    ("stop", {"stop": "e"}),
]


@pytest.mark.parametrize(("reason", "limit"), LIMITS)
@pytest.mark.parametrize("text", ["", "Ye"])
async def test_a_limit_of_the_callers_that_leaves_no_sound_is_an_answer_without_sound(
    reason: Any, limit: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    end = SpeechDelta(text=text, token_ids=(5,), finish_reason=reason, usage=Usage(1, 1))
    backend = ScriptedBackend(end)
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        whole = await openai.chat.completions.create(model=MODEL, messages=ASK, **SPOKEN, **limit)
        stream = await openai.chat.completions.create(
            model=MODEL, messages=ASK, stream=True, **SPOKEN, **limit
        )
        chunks = [chunk.choices[0] async for chunk in stream]
        (choice,) = whole.choices
        assert choice.finish_reason == chunks[-1].finish_reason == reason
        audio = choice.message.audio
        assert audio and (audio.data, audio.transcript) == ("", text)
        pieces = [chunk.delta.audio for chunk in chunks if chunk.delta.audio]  # type: ignore[attr-defined]
        assert "".join(piece.transcript or "" for piece in pieces) == text
        assert not any(piece.data for piece in pieces)
        for turn_id in (audio.id, pieces[0].id):  # either can be named by the next turn
            spoken: Any = {"role": "assistant", "audio": {"id": turn_id}}
            await openai.chat.completions.create(
                model=MODEL, messages=[*ASK, spoken, *ASK], **SPOKEN, **limit
            )
    assert backend.thinker_requests[-1].messages[2] == Message(Role.ASSISTANT, (SpokenPart((5,)),))
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_a_whole_wav_without_sound_is_a_wav() -> None:
    backend = ScriptedBackend(SpeechDelta(finish_reason="length", usage=Usage(1, 1)))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    as_wav: Any = {**SPOKEN, "audio": {"voice": "anna", "format": "wav"}}
    async with openai_client(app) as client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=1, **as_wav
        )
    audio = answer.choices[0].message.audio
    assert audio and base64.b64decode(audio.data) == wav_header(0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls"])
async def test_the_finish_reason_is_the_thinkers(stream: bool, reason: Any) -> None:
    call = ToolCall("get_weather", "{}")
    backend = ScriptedBackend(ThinkerDelta(tool_calls=(call,), finish_reason=reason))
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        answer: Any = await openai.chat.completions.create(model=MODEL, messages=ASK, stream=stream)
        choices = [c.choices[0] async for c in answer] if stream else answer.choices
    assert choices[-1].finish_reason == reason
