"""openai-agents on `/v1/realtime` with its default names: an agent's session, and its transcripts.

It writes what it heard into the working folder: heard.json, and sounds as raw samples.
"""

import asyncio
import json
import logging
import os
import sys
import urllib.request
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from agents import function_tool, set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from agents.voice import OpenAIVoiceModelProvider, StreamedAudioInput, STTModelSettings

TEXT = "Hello there, how are you?"
LONG = "This answer takes quite a while to be spoken, so that there is time to interrupt it. " * 12
SILENCE_S = 5.0  # semantic turns wait for 4 s at most
WITHIN_S = float(os.environ.get("WITHIN_S", "30"))  # for each call
heard: dict[str, Any] = {}


@function_tool
def get_weather() -> str:
    """The weather."""
    return "rain"


def recording() -> bytes:
    with wave.open("question.wav") as file:
        return file.readframes(file.getnframes())


def question() -> bytes:
    """A recording and silence behind it, as raw samples."""
    return recording() + bytes(round(48_000 * SILENCE_S))


async def connected(**settings: Any) -> RealtimeSession:
    agent = RealtimeAgent(name="assistant", instructions="Be brief.", **settings)
    url = os.environ["OPENAI_BASE_URL"].replace("http", "ws", 1) + "/realtime"
    return await RealtimeRunner(agent).run(model_config={"url": url})


async def until(
    session: RealtimeSession, kind: str, where: Callable[[Any], bool] = lambda _: True
) -> list[Any]:
    """All events up to the first of that kind."""
    events: list[Any] = []
    async for event in session:
        events.append(event)
        if event.type == "error":
            raise RuntimeError(str(event.error))
        if event.type == kind and where(event):
            return events
    raise RuntimeError(f"the session ended before {kind}")


async def speak(session: RealtimeSession, sound: bytes) -> None:
    for begin in range(0, len(sound), 4800):
        await session.send_audio(sound[begin : begin + 4800])


def sound_of(events: list[Any]) -> bytes:
    return b"".join(event.audio.data for event in events if event.type == "audio")


def words_of(events: list[Any]) -> str:
    """What the assistant has said last."""
    said = ""
    for event in events:
        items = event.history if event.type == "history_updated" else ()
        for item in [*items, *([event.item] if event.type == "history_added" else ())]:
            if item.type == "message" and item.role == "assistant":
                said = "".join(getattr(c, "transcript", None) or "" for c in item.content) or said
    return said


async def typed() -> None:
    async with await connected() as session:
        await session.send_message(TEXT)
        events = await until(session, "agent_end")
    Path("typed.pcm").write_bytes(sound_of(events))
    heard["typed"] = words_of(events)


async def spoken() -> None:
    async with await connected() as session:
        await speak(session, question())
        events = await until(session, "agent_end")
        Path("spoken.pcm").write_bytes(sound_of(events))
        heard["spoken"] = words_of(events)
        if not (written := user_of(events)):
            written = user_of(await until(session, "history_updated", lambda e: user_of([e])))
    heard["written"] = written


def user_of(events: list[Any]) -> str:
    """What the user has said, as it was written down."""
    items = [i for e in events if e.type == "history_updated" for i in e.history]
    users = [i for i in items if i.type == "message" and i.role == "user"]
    return next(
        (c.transcript for i in users for c in i.content if getattr(c, "transcript", "")), ""
    )


async def tool() -> None:
    async with await connected(tools=[get_weather]) as session:
        await session.send_message("What is the weather?")
        call = (await until(session, "tool_end"))[-1]
        heard["call"] = [call.tool.name, str(call.output)]
        events = await until(session, "agent_end")
        if not words_of(events):
            events = await until(session, "agent_end")
        heard["result"] = words_of(events)


async def interrupted() -> None:
    async with await connected() as session:
        await session.send_message(LONG)
        await until(session, "audio")
        await speak(session, question()[:96_000])
        await until(session, "audio_interrupted")
        await until(session, "agent_end")
        heard["interrupted"] = True


async def reconnected() -> None:
    """The server restarts under a session; the application opens another one."""
    session = await connected()
    async with session:
        await until(session, "raw_model_event", lambda e: "session.created" in str(e.data))
        request = urllib.request.Request(os.environ["RESTART_URL"], method="POST")
        await asyncio.to_thread(urllib.request.urlopen, request)
        try:
            await until(session, "agent_end")
            heard["restart"] = None
        except Exception as error:  # what it is, is what this is about
            heard["restart"] = type(error).__name__
    async with await connected() as session:
        await session.send_message("Are you there?")
        heard["after a restart"] = words_of(await until(session, "agent_end"))


async def transcription() -> None:
    sound = StreamedAudioInput()
    session = (
        await OpenAIVoiceModelProvider()
        .get_stt_model(None)
        .create_session(sound, STTModelSettings(), False, False)
    )
    await sound.add_audio(np.frombuffer(question(), np.int16))
    turns = session.transcribe_turns()
    heard["transcript"] = await anext(turns)
    await sound.add_audio(None)
    heard["rest"] = [turn async for turn in turns]
    await session.close()


CALLS = (typed, spoken, tool, interrupted, reconnected, transcription)


async def every_call(names: list[str]) -> None:
    """All of them in turn; or those that are named at once, though some may fail."""
    if not names:
        for call in CALLS:
            await asyncio.wait_for(call(), WITHIN_S)
    await asyncio.gather(*(tried(call) for call in CALLS if call.__name__ in names))


async def tried(call: Callable[[], Awaitable[None]]) -> None:
    try:
        await asyncio.wait_for(call(), WITHIN_S)
    except Exception as error:  # what it is, is what this is about
        heard[f"{call.__name__} failed"] = type(error).__name__


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    set_tracing_disabled(True)  # it would send traces to OpenAI
    asyncio.run(every_call(sys.argv[1:]))
    Path("heard.json").write_text(json.dumps(heard, indent=1))
