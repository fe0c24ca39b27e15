"""Pipecat's OpenAI services for speech and for transcripts, with their default names.

It writes what it heard into the working folder: sounds as raw samples, the rest into heard.json.
"""

import asyncio
import json
import os
import sys
import wave
from pathlib import Path
from typing import Any

from loguru import logger

logger.remove()  # its debugging, which goes to the terminal from the import on
logger.add(sys.stderr, level="WARNING")

from pipecat.frames.frames import (  # noqa: E402
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.worker import PipelineParams  # noqa: E402
from pipecat.services.openai.stt import OpenAISTTService  # noqa: E402
from pipecat.services.openai.tts import OpenAITTSService  # noqa: E402
from pipecat.tests.utils import run_test  # noqa: E402

TEXT = "Hello there, how are you?"
PIECE_S = 0.02  # of sound, as a transport brings it
heard: dict[str, Any] = {}


async def spoken(text: str, **options: Any) -> tuple[bytes, list[str]]:
    """The sound of `text` and the errors that came in its place."""
    service = OpenAITTSService(base_url=os.environ["OPENAI_BASE_URL"], **options)
    down, up = await run_test(service, frames_to_send=[TTSSpeakFrame(text)], start_timeout=30)
    sound = [frame.audio for frame in down if isinstance(frame, TTSAudioRawFrame)]
    return b"".join(sound), errors_of(up)


async def written(sample: Path, **options: Any) -> tuple[list[str], list[str]]:
    """The transcripts of a recording and the errors that came in their place."""
    service = OpenAISTTService(base_url=os.environ["OPENAI_BASE_URL"], **options)
    with wave.open(str(sample)) as file:
        rate, sound = file.getframerate(), file.readframes(file.getnframes())
    step = 2 * round(PIECE_S * rate)
    pieces = [sound[i : i + step] for i in range(0, len(sound), step)]
    frames: list[Frame] = [VADUserStartedSpeakingFrame()]
    frames += [InputAudioRawFrame(piece, rate, 1) for piece in pieces]
    frames += [VADUserStoppedSpeakingFrame()]
    params = PipelineParams(audio_in_sample_rate=rate)
    down, up = await run_test(
        service, frames_to_send=frames, pipeline_params=params, start_timeout=30
    )
    return [frame.text for frame in down if isinstance(frame, TranscriptionFrame)], errors_of(up)


def errors_of(frames: Any) -> list[str]:
    return [frame.error for frame in frames if isinstance(frame, ErrorFrame)]


async def every_call() -> None:
    sound, heard["errors of speech"] = await spoken(TEXT)
    Path("default.pcm").write_bytes(sound)
    heard["transcripts"], heard["errors of transcripts"] = await written(Path("question.wav"))
    logger.remove()  # it logs the errors that come now
    Settings = OpenAITTSService.Settings
    _, heard["no such model"] = await spoken(TEXT, settings=Settings(model="gpt-5"))
    _, heard["too fast"] = await spoken(TEXT, settings=Settings(speed=9.0))
    _, heard["breaks off"] = await spoken("break off")
    settings = OpenAISTTService.Settings(model="gpt-5")
    _, heard["no such transcriber"] = await written(Path("question.wav"), settings=settings)


if __name__ == "__main__":
    asyncio.run(every_call())
    Path("heard.json").write_text(json.dumps(heard, indent=1))
