"""openai-agents' voice classes with their default names: both models, and the pipeline over them.

It writes what it heard into the working folder: sounds as raw samples, the rest into heard.json.
"""

import asyncio
import json
import logging
import wave
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import numpy as np
from agents import set_tracing_disabled
from agents.voice import (
    AudioInput,
    OpenAIVoiceModelProvider,
    STTModelSettings,
    TTSModelSettings,
    VoicePipeline,
    VoiceWorkflowBase,
)

TEXT = "Hello there, how are you?"
heard: dict[str, Any] = {}


class Repeats(VoiceWorkflowBase):
    """Answers with what it heard."""

    async def run(self, transcription: str) -> AsyncIterator[str]:
        yield f"{transcription}."


def recording() -> AudioInput:
    with wave.open("question.wav") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return AudioInput(samples, frame_rate=file.getframerate())


async def spoken(provider: OpenAIVoiceModelProvider, text: str, **settings: Any) -> bytes:
    model = provider.get_tts_model(None)
    return b"".join([piece async for piece in model.run(text, TTSModelSettings(**settings))])


async def written(provider: OpenAIVoiceModelProvider, name: str | None = None) -> str:
    model = provider.get_stt_model(name)
    return await model.transcribe(recording(), STTModelSettings(), False, False)


async def pipeline() -> None:
    answer = await VoicePipeline(workflow=Repeats()).run(recording())
    pieces = [
        event.data async for event in answer.stream() if event.type == "voice_stream_event_audio"
    ]
    sound = np.concatenate([piece for piece in pieces if piece is not None])
    Path("pipeline.pcm").write_bytes(sound.tobytes())


async def errors(provider: OpenAIVoiceModelProvider) -> None:
    wrong = OpenAIVoiceModelProvider(api_key="sk-wrong")
    faults: dict[str, Awaitable[Any]] = {
        "no such transcriber": written(provider, "gpt-5"),
        "wrong key": spoken(wrong, TEXT),
        "breaks off": spoken(provider, "break off"),
        "no such voice": spoken(provider, TEXT, voice="nobody"),
    }
    for name, fault in faults.items():
        try:
            await fault
            heard[name] = None
        except Exception as error:  # what it is, is what this is about
            heard[name] = type(error).__name__


async def every_call() -> None:
    provider = OpenAIVoiceModelProvider()
    Path("default.pcm").write_bytes(await spoken(provider, TEXT))
    Path("quick.pcm").write_bytes(await spoken(provider, TEXT, voice="alloy", speed=2.0))
    heard["transcript"] = await written(provider)
    await pipeline()
    await errors(provider)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    set_tracing_disabled(True)  # it would send traces to OpenAI
    asyncio.run(every_call())
    Path("heard.json").write_text(json.dumps(heard, indent=1))
