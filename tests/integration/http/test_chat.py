"""`/v1/chat/completions` through OpenAI's client."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError, NotFoundError

from deployments.audio import decode_audio
from deployments.messages import (
    Message,
    Role,
    SpeechDelta,
    SpokenPart,
    TextPart,
    ThinkerDelta,
    ToolCall,
    Usage,
)
from deployments.thinker import tasks
from deployments.thinker.fake import audio_tokens_of
from serve_app.http.application import create_http_app
from serve_app.http.chat.spoken_turns import SpokenTurns
from serve_app.http.chat.turn_ids import TurnIds
from serve_app.http.chat.turn_stores import MemoryTurns
from serve_app.http.settings import HttpSettings
from serve_app.sound.encoding.wav import wav_header
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL, wav_of

ASK: list[Any] = [{"role": "user", "content": "How are you?"}]
SPOKEN: dict[str, Any] = {
    "modalities": ["text", "audio"],
    "audio": {"voice": "anna", "format": "pcm16"},
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
    }
]
END = ThinkerDelta(finish_reason="stop", usage=Usage(3, 1))


def pcm_of(text: str) -> bytes:
    return np.repeat(np.array(audio_tokens_of(text), dtype="<i2"), 960).tobytes()


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


@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_turn_holds_the_very_ids_of_the_spoken_answer(stream: bool) -> None:
    first = SpeechDelta(pcm=b"\1\0", text="Hi", token_ids=(7, 8, 9))
    last = SpeechDelta(pcm=b"\2\0", token_ids=(10,), finish_reason="stop", usage=Usage(1, 4, 2))
    backend = ScriptedBackend(first, last)
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        answer: Any = await openai.chat.completions.create(
            model=MODEL, messages=ASK, stream=stream, **SPOKEN
        )
        if stream:
            audio = [c.choices[0].delta.audio async for c in answer]
            turn_id = next(a.id for a in audio if a and a.id)
        else:
            turn_id = answer.choices[0].message.audio.id
        spoken: Any = {"role": "assistant", "audio": {"id": turn_id}}
        messages = [*ASK, spoken, {"role": "user", "content": "And you?"}]
        await openai.chat.completions.create(model=MODEL, messages=messages, **SPOKEN)
    assert backend.thinker_requests[1].messages == (
        Message(Role.SYSTEM, (TextPart(tasks.CONVERSE),)),
        Message(Role.HUMAN, (TextPart("How are you?"),)),
        Message(Role.ASSISTANT, (SpokenPart((7, 8, 9, 10)),)),
        Message(Role.HUMAN, (TextPart("And you?"),)),
    )


async def test_an_id_that_was_never_given_out_is_refused_by_its_place(openai: AsyncOpenAI) -> None:
    spoken: Any = {"role": "assistant", "audio": {"id": "audio_never"}}
    with pytest.raises(BadRequestError, match="names no spoken answer") as refused:
        await openai.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])
    assert refused.value.param == "messages[1].audio.id"
    assert refused.value.code == "audio_id_invalid"


async def test_a_streamed_turn_that_is_not_kept_is_404(openai: AsyncOpenAI, graph: Graph) -> None:
    spoken: Any = {
        "role": "assistant",
        "audio": {"id": graph.app.state.spoken_turns.announce("").id},
    }
    with pytest.raises(NotFoundError, match="is not kept here") as refused:
        await openai.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])
    assert refused.value.param == "messages[1].audio.id"
    assert refused.value.code == "audio_not_found"


async def test_a_spoken_turn_is_gone_after_its_expiry(graph: Graph) -> None:
    now = 1000.0
    turns = SpokenTurns(TurnIds([b"key"]), MemoryTurns(8), ttl_s=60, clock=lambda: now)
    app = create_http_app(graph.backend, graph.settings, turns)
    async with openai_client(app) as openai:
        answer = await openai.chat.completions.create(model=MODEL, messages=ASK, **SPOKEN)
        audio = answer.choices[0].message.audio
        assert audio and audio.expires_at == 1060
        spoken: Any = {"role": "assistant", "audio": {"id": audio.id}}
        now = 1059.0
        await openai.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])
        now = 1060.0
        with pytest.raises(BadRequestError) as refused:
            await openai.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])
        assert (refused.value.param, refused.value.code) == (
            "messages[1].audio.id",
            "audio_expired",
        )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_spoken_turn_is_its_owners_alone(graph: Graph, stream: bool) -> None:
    keys: Any = {"anna": "the-key-of-anna", "ben": "the-key-of-ben"}
    app = create_http_app(graph.backend, HttpSettings(models=(MODEL,), api_keys=keys))
    async with (
        openai_client(app, keys["anna"]) as anna,
        openai_client(app, keys["ben"]) as ben,
    ):
        answer: Any = await anna.chat.completions.create(
            model=MODEL, messages=ASK, stream=stream, **SPOKEN
        )
        if stream:
            audio = [chunk.choices[0].delta.audio async for chunk in answer]
            turn_id = next(a.id for a in audio if a and a.id)
        else:
            turn_id = answer.choices[0].message.audio.id
        spoken: Any = {"role": "assistant", "audio": {"id": turn_id}}
        await anna.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])
        with pytest.raises(BadRequestError) as refused:
            await ben.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])
        assert refused.value.code == "audio_id_invalid"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_restarted_server_honours_the_ids_of_the_last_one(
    tmp_path: Path, graph: Graph, stream: bool
) -> None:
    settings = HttpSettings(
        models=(MODEL,),
        spoken_turn_keys=("k" * 32,),  # type: ignore[arg-type]
        spoken_turns_folder=str(tmp_path),
    )
    async with openai_client(create_http_app(graph.backend, settings)) as openai:
        answer: Any = await openai.chat.completions.create(
            model=MODEL, messages=ASK, stream=stream, **SPOKEN
        )
        if stream:
            audio = [chunk.choices[0].delta.audio async for chunk in answer]
            turn_id = next(a.id for a in audio if a and a.id)
        else:
            turn_id = answer.choices[0].message.audio.id
    spoken: Any = {"role": "assistant", "audio": {"id": turn_id}}
    async with openai_client(create_http_app(graph.backend, settings)) as openai:
        await openai.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])
    async with openai_client(graph.app) as openai:
        with pytest.raises(BadRequestError):
            await openai.chat.completions.create(model=MODEL, messages=[*ASK, spoken, *ASK])


async def test_tools_are_called_and_their_results_answered(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model=MODEL, messages=ASK, tools=TOOLS)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None and choice.message.tool_calls
    call: Any = choice.message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", "{}")
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    then = await openai.chat.completions.create(
        model=MODEL,
        tools=TOOLS,
        messages=[*ASK, choice.message, result],  # type: ignore[list-item]
    )
    assert then.choices[0].message.content == "sunny"


async def test_a_tool_call_streams_with_its_index(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model=MODEL, messages=ASK, tools=TOOLS, stream=True
    )
    choices = [chunk.choices[0] async for chunk in stream]
    calls = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert [(c.index, c.function and c.function.name) for c in calls] == [(0, "get_weather")]
    assert choices[-1].finish_reason == "tool_calls"


async def test_tools_and_calls_reach_the_prompt_in_the_models_roles(scripted_raw: Any) -> None:
    backend = ScriptedBackend(END)
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    body = {"model": MODEL, "messages": messages, "tools": TOOLS}
    async with scripted_raw(backend) as client:
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        body["tool_choice"] = "none"
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    with_tools, without = (request.messages for request in backend.thinker_requests)
    assert with_tools == (
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        Message(Role.TOOL_SCHEMAS, (TextPart(json.dumps(TOOLS)),)),
        Message(Role.HUMAN, (TextPart("Go"),)),
        Message(Role.ASSISTANT, (ToolCall("f", '{"a": 1}'),)),
        Message(Role.TOOL_RESULT, (TextPart("done"),)),
    )
    assert without == with_tools[:1] + with_tools[2:]


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"1": 5}),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -0.5),
        ("functions", [{"name": "f"}]),
        ("prediction", {"type": "content", "content": "x"}),
        ("reasoning_effort", "high"),
        ("web_search_options", {}),
    ],
)
async def test_known_fields_that_cannot_be_honoured_are_refused(
    openai: AsyncOpenAI, field: str, value: object
) -> None:
    with pytest.raises(BadRequestError, match=f"{field}=.*is not supported") as refused:
        await openai.chat.completions.create(
            model=MODEL,
            messages=ASK,
            **{field: value},  # type: ignore[arg-type]
        )
    assert refused.value.param == field


async def test_the_same_fields_at_their_defaults_are_accepted(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model=MODEL,
        messages=ASK,
        n=1,
        logprobs=False,
        frequency_penalty=0,
        presence_penalty=0.0,
        response_format={"type": "text"},
        tool_choice="auto",
        parallel_tool_calls=True,
        store=False,
        user="someone",
        extra_body={"colour": "blue"},
    )
    assert answer.choices[0].message.content == "How are you?"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"modalities": ["text", "audio"]}, "audio"),
        (SPOKEN | {"audio": {"voice": "anna", "format": "midi"}}, "audio.format"),
        (SPOKEN | {"audio": {"voice": "anna", "format": "mp3"}, "stream": True}, "audio.format"),
        (SPOKEN | {"audio": {"voice": "anna", "format": "wav"}, "stream": True}, "audio.format"),
        (SPOKEN | {"audio": {"voice": "nobody", "format": "pcm16"}}, "voice"),
    ],
)
async def test_spoken_answers_that_cannot_be_given_are_refused(
    openai: AsyncOpenAI, more: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await openai.chat.completions.create(model=MODEL, messages=ASK, **more)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("content", "param"),
    [
        ([{"type": "image_url", "image_url": {"url": "x"}}], "messages[0].content[0].type"),
        ([{"type": "input_audio"}], "messages[0].content[0]"),
        (
            [{"type": "input_audio", "input_audio": {"data": "%%%", "format": "wav"}}],
            "messages[0].content[0].input_audio.data",
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
            "messages[0].content[0].input_audio",
        ),
    ],
)
async def test_bad_parts_are_refused_by_their_place(
    openai: AsyncOpenAI, content: Any, param: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        await openai.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": content}]
        )
    assert refused.value.param == param


async def test_recordings_of_one_request_share_the_limit() -> None:
    graph = Graph(max_audio_s=3.0)
    await graph.backend.start()
    data = base64.b64encode(wav_of(seconds=2)).decode()
    part: Any = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    async with openai_client(graph.app) as openai:
        with pytest.raises(BadRequestError, match=r"lasts 4\.0 s, the limit is 3 s"):
            await openai.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": [part, part]}]
            )


async def test_recordings_over_the_limit_of_a_request_are_not_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoded_s: list[float] = []

    def decode(data: bytes, rate_hz: int, max_s: float) -> tuple[np.ndarray, int]:
        samples, rate_hz = decode_audio(data, rate_hz, max_s)
        decoded_s.append(len(samples) / rate_hz)
        return samples, rate_hz

    monkeypatch.setattr("serve_app.http.dependencies.decode_audio", decode)
    graph = Graph(max_audio_s=5.0)
    await graph.backend.start()
    data = base64.b64encode(wav_of(seconds=2)).decode()
    part: Any = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    turns: list[Any] = [{"role": "user", "content": [part, part]}] * 10
    async with openai_client(graph.app) as openai:
        with pytest.raises(BadRequestError, match=r"lasts 6\.0 s, the limit is 5 s") as refused:
            await openai.chat.completions.create(model=MODEL, messages=turns)
    assert refused.value.param == "messages[1].content[0].input_audio"
    assert decoded_s == [2.0, 2.0]


async def test_a_spoken_answer_without_sound_that_nobody_asked_for_is_an_error() -> None:
    backend = ScriptedBackend(
        SpeechDelta(text="only text"), SpeechDelta(finish_reason="stop", usage=Usage(1, 2))
    )
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    async with openai_client(app) as openai:
        with pytest.raises(APIError, match="no audio"):
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
