"""Recordings and answers that the tests of the HTTP surface build."""

import asyncio
import io
import json
import wave
from collections.abc import Callable
from typing import Any

import numpy as np

MODEL = "step-audio-2-mini"


def wav_of(seconds: float, rate_hz: int = 16_000) -> bytes:
    """A 440 Hz tone as a WAV file."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = (8000 * np.sin(2 * np.pi * 440 * time)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def sse_data(body: str) -> list[Any]:
    """The JSON of every `data:` line of an event stream."""
    lines = [line.removeprefix("data: ") for line in body.splitlines() if line[:5] == "data:"]
    return [json.loads(line) if line != "[DONE]" else line for line in lines]


async def eventually(claim: Callable[[], bool], within_s: float = 1.0) -> bool:
    """Whether `claim` comes true in time."""
    for _ in range(round(within_s / 0.01)):
        if claim():
            return True
        await asyncio.sleep(0.01)
    return claim()
