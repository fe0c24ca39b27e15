"""OpenAI's Python client on `/v1/realtime`, with nothing changed but its address and its key.

It writes what it heard into the working folder: heard.json, and sounds as raw samples.
"""

import asyncio
import base64
import json
import os
import sys
import urllib.request
import wave
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import openai
from openai.resources.realtime.realtime import AsyncRealtimeConnection

MODEL = "gpt-realtime"
LONG = "This answer takes quite a while to be spoken, so that there is time to interrupt it. " * 12
TOOL: Any = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
PIECE_S, SILENCE_S = 0.04, 1.0
WITHIN_S = float(os.environ.get("WITHIN_S", "30"))  # for each call
heard: dict[str, Any] = {}


def question() -> bytes:
    """A recording and silence behind it, as raw samples."""
    with wave.open("question.wav") as file:
        return file.readframes(file.getnframes()) + bytes(round(48_000 * SILENCE_S))


async def speak(connection: AsyncRealtimeConnection, sound: bytes) -> None:
    step = round(48_000 * PIECE_S)
    for begin in range(0, len(sound), step):
        piece = base64.b64encode(sound[begin : begin + step]).decode()
        await connection.input_audio_buffer.append(audio=piece)


async def until(
    connection: AsyncRealtimeConnection, kind: str, where: Callable[[Any], bool] = lambda _: True
) -> list[Any]:
    """All events up to the first of that kind."""
    events: list[Any] = []
    async for event in connection:
        events.append(event)
        if event.type == "error":
            raise RuntimeError(event.error.message)
        if event.type == kind and where(event):
            return events
    raise RuntimeError(f"the connection ended before {kind}")


def sound_of(events: list[Any]) -> bytes:
    deltas = [event.delta for event in events if event.type == "response.output_audio.delta"]
    return b"".join(map(base64.b64decode, deltas))


def words_of(events: list[Any]) -> str:
    kind = "response.output_audio_transcript.delta"
    return "".join(event.delta for event in events if event.type == kind)


async def type_in(connection: AsyncRealtimeConnection, text: str) -> None:
    content: Any = [{"type": "input_text", "text": text}]
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": content}
    )
    await connection.response.create()


async def typed(connection: AsyncRealtimeConnection) -> None:
    await type_in(connection, "Hello there, how are you?")
    events = await until(connection, "response.done")
    Path("typed.pcm").write_bytes(sound_of(events))
    heard["typed"] = words_of(events)


async def spoken(connection: AsyncRealtimeConnection) -> None:
    await speak(connection, question())
    events = await until(connection, "response.done")
    Path("spoken.pcm").write_bytes(sound_of(events))
    heard["spoken"] = words_of(events)
    heard["turn"] = [e.type for e in events if e.type.startswith("input_audio_buffer.")]


async def written(connection: AsyncRealtimeConnection) -> None:
    """What the user said is written down, too."""
    await connection.session.update(
        session={
            "type": "realtime",
            "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}},
        }
    )
    await speak(connection, question())
    kind = "conversation.item.input_audio_transcription.completed"
    heard["written"] = (await until(connection, kind))[-1].transcript


async def tool(connection: AsyncRealtimeConnection) -> None:
    await connection.session.update(session={"type": "realtime", "tools": [TOOL]})
    await type_in(connection, "What is the weather?")
    done = (await until(connection, "response.done"))[-1]
    call = next(item for item in done.response.output if item.type == "function_call")
    heard["call"] = [call.name, call.arguments]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    await connection.conversation.item.create(item=result)
    await connection.response.create()
    heard["result"] = words_of(await until(connection, "response.done"))


async def interrupted(connection: AsyncRealtimeConnection) -> None:
    await type_in(connection, LONG)
    first = (await until(connection, "response.output_audio.delta"))[-1]
    await speak(connection, question()[:96_000])
    events = await until(connection, "response.done", lambda e: e.response.id == first.response_id)
    details = events[-1].response.status_details
    heard["interrupted"] = [events[-1].response.status, details and details.reason]
    heard["speech started"] = [e.audio_start_ms for e in events if hasattr(e, "audio_start_ms")]
    await connection.conversation.item.truncate(
        item_id=first.item_id, content_index=0, audio_end_ms=480
    )
    events = await until(connection, "conversation.item.truncated")
    heard["truncated"] = events[-1].audio_end_ms
    await connection.conversation.item.truncate(
        item_id=first.item_id, content_index=0, audio_end_ms=10_000_000
    )
    await until(connection, "conversation.item.truncated")


async def cancelled(connection: AsyncRealtimeConnection) -> None:
    await type_in(connection, LONG)
    await until(connection, "response.output_audio.delta")
    await connection.response.cancel()
    response = (await until(connection, "response.done"))[-1].response
    heard["cancelled"] = [response.status, response.status_details.reason]


async def reconnected(client: openai.AsyncOpenAI) -> None:
    """The server restarts under a connection, and the client opens another one."""
    codes = []

    def note(event: Any) -> None:
        codes.append(event.close_code)

    async with client.realtime.connect(
        model=MODEL, on_reconnecting=note, initial_delay=0.01
    ) as connection:
        await until(connection, "session.created")
        request = urllib.request.Request(os.environ["RESTART_URL"], method="POST")
        await asyncio.to_thread(urllib.request.urlopen, request)
        await until(connection, "session.created")
        await type_in(connection, "Are you there?")
        heard["after a restart"] = words_of(await until(connection, "response.done"))
    heard["restart"] = codes


async def transcription(client: openai.AsyncOpenAI) -> None:
    query = {"intent": "transcription"}
    async with client.realtime.connect(extra_query=query) as connection:
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "transcription": {"model": "gpt-4o-transcribe"},
                        "turn_detection": {"type": "server_vad"},
                    }
                },
            }
        )
        await speak(connection, question())
        kind = "conversation.item.input_audio_transcription.completed"
        events = await until(connection, kind)
        heard["transcript"] = events[-1].transcript
        kind = "conversation.item.input_audio_transcription.delta"
        heard["deltas"] = "".join(e.delta for e in events if e.type == kind)


async def with_a_client_secret(client: openai.AsyncOpenAI) -> None:
    """As a browser does: a key for a while, which the page's server has asked for."""
    secret = await client.realtime.client_secrets.create(
        session={"type": "realtime", "instructions": "Be brief."}
    )
    async with (
        client.with_options(api_key=secret.value) as guest,
        guest.realtime.connect(model=MODEL) as connection,
    ):
        created = (await until(connection, "session.created"))[-1]
        heard["instructions of a secret"] = created.session.instructions


async def errors(client: openai.AsyncOpenAI) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        await connection.response.cancel(event_id="mine")
        async for event in connection:
            if event.type == "error":
                heard["nothing to cancel"] = [event.error.code, event.error.event_id]
                break
    refused: dict[str, Any] = {"wrong key": {"api_key": "sk-wrong"}, "no such model": {}}
    for name, options in refused.items():
        model = "gpt-5" if name == "no such model" else MODEL
        try:
            async with client.with_options(**options).realtime.connect(model=model):
                heard[name] = None
        except Exception as error:  # what it is, is what this is about
            response = getattr(error, "response", None)
            heard[name] = [type(error).__name__, getattr(response, "status_code", None)]


SESSIONS = (typed, spoken, written, tool, interrupted, cancelled)
CONNECTIONS = (reconnected, transcription, with_a_client_secret, errors)


async def every_call(names: list[str]) -> None:
    """All of them in turn; or those that are named at once, though some may fail."""
    async with openai.AsyncOpenAI() as client:
        calls = [partial(in_a_session, client, session) for session in SESSIONS]
        calls += [partial(call, client) for call in CONNECTIONS]
        if not names:
            for call in calls:
                await asyncio.wait_for(call(), WITHIN_S)
        named = [partial(in_a_session, client, s) for s in SESSIONS if s.__name__ in names]
        order = [s.__name__ for s in SESSIONS if s.__name__ in names]
        await asyncio.gather(*map(tried, order, named))


async def in_a_session(
    client: openai.AsyncOpenAI, talk: Callable[[AsyncRealtimeConnection], Awaitable[None]]
) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        await talk(connection)


async def tried(name: str, call: Callable[[], Awaitable[None]]) -> None:
    try:
        await asyncio.wait_for(call(), WITHIN_S)
    except Exception as error:  # what it is, is what this is about
        heard[f"{name} failed"] = type(error).__name__


if __name__ == "__main__":
    asyncio.run(every_call(sys.argv[1:]))
    Path("heard.json").write_text(json.dumps(heard, indent=1))
