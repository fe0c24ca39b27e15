"""LiveKit Agents' OpenAI plugin: its TTS and its STT, each with the plugin's own defaults.

It writes what it heard into the working folder: sounds as WAV files, and the rest into heard.json.
"""

import asyncio
import json
import logging
import wave
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents import APIConnectOptions
from livekit.plugins import openai

TEXT = "Hello there, how are you?"
ONCE = APIConnectOptions(max_retry=0)
heard: dict[str, Any] = {}


async def speech() -> None:
    """In the default format, mp3 as events; in every other one; and as raw sound."""
    asked: list[tuple[str, dict[str, str]]] = [("default", {}), ("raw", {"model": "tts-1"})]
    asked += [(form, {"response_format": form}) for form in ("opus", "aac", "flac", "wav", "pcm")]
    for name, options in asked:
        tts = openai.TTS(**options)
        tts.prewarm()
        sound = await tts.synthesize(TEXT).collect()
        Path(f"{name}.wav").write_bytes(sound.to_wav_bytes())
        heard[f"rate of {name}"] = sound.sample_rate
        await tts.aclose()


def recording() -> rtc.AudioFrame:
    with wave.open("question.wav") as file:
        samples = file.getnframes()
        return rtc.AudioFrame(file.readframes(samples), file.getframerate(), 1, samples)


async def transcripts() -> None:
    hints = {"model": "gpt-transcribe", "keywords": ["Zoë"]}  # it goes with `languages`, too
    asked: dict[str, dict[str, Any]] = {"default": {}, "whisper-1": {"model": "whisper-1"}}
    for name, options in {**asked, "gpt-transcribe": hints}.items():
        stt = openai.STT(**options)
        event = await stt.recognize(recording())
        heard[f"transcript of {name}"] = event.alternatives[0].text
        heard[f"language of {name}"] = event.alternatives[0].language
        await stt.aclose()


async def errors() -> None:
    async def say(text: str, **options: str) -> None:
        await openai.TTS(**options).synthesize(text, conn_options=ONCE).collect()

    faults: dict[str, Awaitable[Any]] = {
        "no such model": say(TEXT, model="gpt-5"),
        "wrong key": say(TEXT, api_key="sk-wrong"),
        "breaks off as events": say("break off"),
        "breaks off": say("break off", model="tts-1"),
        "no such transcriber": openai.STT(model="gpt-5").recognize(recording(), conn_options=ONCE),
    }
    for name, fault in faults.items():
        try:
            await fault
            heard[name] = None
        except Exception as error:  # what it is, is what this is about
            heard[name] = [type(error).__name__, getattr(error, "status_code", None)]


async def every_call() -> None:
    await speech()
    await transcripts()
    logging.getLogger("livekit").disabled = True  # it logs the errors that come now
    await errors()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(every_call())
    Path("heard.json").write_text(json.dumps(heard, indent=1))
