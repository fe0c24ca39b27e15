"""LiveKit Agents' OpenAI plugin on `/v1/realtime` with its default names, and its realtime STT.

It writes what it heard into the working folder: heard.json, and sounds as raw samples.
"""

import asyncio
import json
import logging
import os
import sys
import urllib.request
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from livekit import rtc
from livekit.agents import llm, stt
from livekit.agents.utils import http_context
from livekit.plugins import openai
from livekit.plugins.openai.realtime import RealtimeModel

TEXT = "Hello there, how are you?"
LONG = "This answer takes quite a while to be spoken, so that there is time to interrupt it. " * 12
SILENCE_S = 5.0  # semantic turns wait for 4 s at most
WITHIN_S = float(os.environ.get("WITHIN_S", "30"))  # for each call
heard: dict[str, Any] = {}


@llm.function_tool
async def get_weather() -> str:
    """The weather."""
    return "rain"


def question(seconds: float | None = None) -> list[rtc.AudioFrame]:
    """The beginning of a recording, or all of it and silence behind it, in pieces of 50 ms."""
    with wave.open("question.wav") as file:
        sound = file.readframes(file.getnframes()) + bytes(round(48_000 * SILENCE_S))
    sound = sound[: 48_000 * int(seconds)] if seconds else sound
    pieces = [sound[i : i + 2400] for i in range(0, len(sound), 2400)]
    return [rtc.AudioFrame(piece, 24_000, 1, len(piece) // 2) for piece in pieces]


class Talk:
    """A session, and what it tells."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.generations: asyncio.Queue[llm.GenerationCreatedEvent] = asyncio.Queue()
        self.written: asyncio.Queue[str] = asyncio.Queue()
        self.speech_began = asyncio.Event()
        self.errors: list[str] = []
        session.on("generation_created", self.generations.put_nowait)
        session.on("input_speech_started", lambda _: self.speech_began.set())
        session.on("error", lambda event: self.errors.append(str(event.error)))
        session.on(
            "input_audio_transcription_completed",
            lambda event: event.is_final and self.written.put_nowait(event.transcript),
        )

    async def say(self, text: str) -> None:
        """Add what the user types to the conversation."""
        context = self.session.chat_ctx.copy()
        context.add_message(role="user", content=text)
        await self.session.update_chat_ctx(context)

    async def answer(self) -> llm.GenerationCreatedEvent:
        return await self.session.generate_reply()


@asynccontextmanager
async def talking(**options: Any) -> AsyncIterator[Talk]:
    async with aiohttp.ClientSession() as http:
        model = RealtimeModel(http_session=http, **options)
        session = model.session()
        try:
            yield Talk(session)
        finally:
            await session.aclose()
            await model.aclose()


async def heard_of(generation: llm.GenerationCreatedEvent) -> tuple[bytes, str, list[float]]:
    """The sound of an answer, its words, and the times of these in seconds."""
    sound, words, times = b"", "", []
    async for message in generation.message_stream:

        async def listen(message: llm.MessageGeneration = message) -> bytes:
            return b"".join([bytes(frame.data) async for frame in message.audio_stream])

        listening = asyncio.create_task(listen())
        async for text in message.text_stream:
            words += text
            start = getattr(text, "start_time", None)
            times += [start] if isinstance(start, float) else []
        sound += await listening
    return sound, words, times


async def typed() -> None:
    async with talking() as talk:
        await talk.session.update_instructions("Be brief.")
        await talk.say(TEXT)
        sound, heard["typed"], heard["times"] = await heard_of(await talk.answer())
        heard["errors"] = talk.errors
    Path("typed.pcm").write_bytes(sound)


async def spoken() -> None:
    async with talking() as talk:
        for frame in question():
            talk.session.push_audio(frame)
        sound, heard["spoken"], _ = await heard_of(await talk.generations.get())
        heard["written"] = await talk.written.get()
    Path("spoken.pcm").write_bytes(sound)


async def tool() -> None:
    async with talking() as talk:
        await talk.session.update_tools([get_weather])
        await talk.say("What is the weather?")
        generation = await talk.answer()
        call = await anext(aiter(generation.function_stream))
        heard["call"] = [call.name, call.arguments]
        context = talk.session.chat_ctx.copy()
        context.items.append(
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output="rain", is_error=False
            )
        )
        await talk.session.update_chat_ctx(context)
        _, heard["result"], _ = await heard_of(await talk.answer())


async def interrupted() -> None:
    async with talking() as talk:
        await talk.say(LONG)
        generation = await talk.answer()
        message = await anext(aiter(generation.message_stream))
        await anext(aiter(message.audio_stream))
        for frame in question(2):
            talk.session.push_audio(frame)
        await talk.speech_began.wait()
        talk.session.interrupt()
        talk.session.truncate(message_id=message.message_id, modalities=["audio"], audio_end_ms=480)
        frames = [frame async for frame in message.audio_stream]
        heard["interrupted after"] = sum(frame.duration for frame in frames)
        heard["errors of an interruption"] = talk.errors


async def reconnected() -> None:
    """The server restarts under a session; LiveKit opens another one and tells it the history."""
    async with talking() as talk:
        again = asyncio.Event()
        talk.session.on("session_reconnected", lambda _: again.set())
        await talk.say("Remember this.")
        logging.getLogger("livekit.agents").disabled = True  # it logs that the connection broke
        request = urllib.request.Request(os.environ["RESTART_URL"], method="POST")
        await asyncio.to_thread(urllib.request.urlopen, request)
        await again.wait()
        while not talk.session.chat_ctx.messages():  # until the server has confirmed the history
            await asyncio.sleep(0.01)
        await talk.say("Are you there?")
        _, heard["after a restart"], _ = await heard_of(await talk.answer())
        heard["history"] = [m.text_content for m in talk.session.chat_ctx.messages()][:2]


async def transcription() -> None:
    async with http_context.open():  # an agent's job opens it
        stream = openai.STT(use_realtime=True).stream()
        for frame in question():
            stream.push_frame(frame)
        async for event in stream:
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                heard["transcript"] = event.alternatives[0].text
                break
        await stream.aclose()


CALLS = (typed, spoken, tool, interrupted, transcription, reconnected)


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
    asyncio.run(every_call(sys.argv[1:]))
    Path("heard.json").write_text(json.dumps(heard, indent=1))
