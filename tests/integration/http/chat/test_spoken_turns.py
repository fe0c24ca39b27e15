"""Spoken answers that a later request of a chat refers to by their `audio.id`."""

from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from deployments.messages import (
    Message,
    Role,
    SpeechDelta,
    SpokenPart,
    TextPart,
    Usage,
)
from deployments.thinker import tasks
from serve_app.http.application import create_http_app
from serve_app.http.chat.spoken_turns import SpokenTurns
from serve_app.http.chat.turn_ids import TurnIds
from serve_app.http.chat.turn_stores import MemoryTurns
from serve_app.http.settings import HttpSettings
from tests.integration.http.chat.asks import ASK, SPOKEN
from tests.integration.http.conftest import Graph, ScriptedBackend, openai_client
from tests.integration.http.helpers import MODEL


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
