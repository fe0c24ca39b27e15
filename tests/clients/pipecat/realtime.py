"""Pipecat's services on `/v1/realtime` with their default names: a whole pipeline, and its STT.

It writes what it heard into the working folder: heard.json, and sounds as raw samples.
"""

import asyncio
import json
import os
import sys
import urllib.request
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loguru import logger

logger.remove()  # its debugging, which goes to the terminal from the import on
logger.add(sys.stderr, level="WARNING")

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema  # noqa: E402
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema  # noqa: E402
from pipecat.frames.frames import (  # noqa: E402
    BotStoppedSpeakingFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline  # noqa: E402
from pipecat.pipeline.worker import PipelineParams, PipelineWorker  # noqa: E402
from pipecat.processors.aggregators.llm_context import LLMContext  # noqa: E402
from pipecat.processors.aggregators.llm_response_universal import (  # noqa: E402
    LLMContextAggregatorPair,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor  # noqa: E402
from pipecat.services.llm_service import FunctionCallParams  # noqa: E402
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService  # noqa: E402
from pipecat.services.openai.stt import OpenAIRealtimeSTTService  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402

TEXT = "Hello there, how are you?"
LONG = "This answer takes quite a while to be spoken, so that there is time to interrupt it. " * 12
URL = os.environ["OPENAI_BASE_URL"].replace("http", "ws", 1) + "/realtime"
KEY = os.environ["OPENAI_API_KEY"]
SILENCE_S, PIECE_S = 1.0, 0.02  # a transport brings such pieces
WITHIN_S = float(os.environ.get("WITHIN_S", "30"))  # for each call
heard: dict[str, Any] = {}


def question(seconds: float | None = None) -> list[Frame]:
    """The beginning of a recording, or all of it and silence behind it."""
    with wave.open("question.wav") as file:
        sound = file.readframes(file.getnframes()) + bytes(round(48_000 * SILENCE_S))
    sound = sound[: 48_000 * int(seconds)] if seconds else sound
    step = round(48_000 * PIECE_S)
    return [InputAudioRawFrame(sound[i : i + step], 24_000, 1) for i in range(0, len(sound), step)]


class Ear(FrameProcessor):
    """Stands behind a service and hears all that comes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self._more = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        self._more.set()
        await self.push_frame(frame, direction)

    async def until(self, *kinds: type) -> list[Frame]:
        """All frames up to the first of these kinds; they are heard once."""
        while not any(isinstance(frame, kinds) for frame in self.frames):
            self._more.clear()
            await self._more.wait()
        index = next(i for i, frame in enumerate(self.frames) if isinstance(frame, kinds))
        taken, self.frames = self.frames[: index + 1], self.frames[index + 1 :]
        return taken

    async def answer(self) -> tuple[bytes, str]:
        """The sound and the words of the next answer, all of which is played."""
        frames = await self.until(TTSStoppedFrame)
        await self.push_frame(BotStoppedSpeakingFrame(), FrameDirection.UPSTREAM)
        sound = b"".join(frame.audio for frame in frames if isinstance(frame, TTSAudioRawFrame))
        return sound, "".join(frame.text for frame in frames if isinstance(frame, TTSTextFrame))


@asynccontextmanager
async def running(*processors: FrameProcessor) -> AsyncIterator[PipelineWorker]:
    worker = PipelineWorker(
        Pipeline(list(processors)),
        cancel_on_idle_timeout=False,
        params=PipelineParams(audio_in_sample_rate=24_000, audio_out_sample_rate=24_000),
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def _begin(worker: PipelineWorker, frame: Frame) -> None:
        started.set()

    @worker.event_handler("on_pipeline_error")
    async def _note(worker: PipelineWorker, frame: ErrorFrame) -> None:
        heard.setdefault("errors", []).append(frame.error)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    serving = asyncio.create_task(runner.run())
    await started.wait()
    try:
        yield worker
    finally:
        await worker.queue_frame(EndFrame())
        await serving


@asynccontextmanager
async def talking(
    text: str | None = None, tools: ToolsSchema | None = None
) -> AsyncIterator[tuple[PipelineWorker, Ear, OpenAIRealtimeLLMService]]:
    """A conversation, in which the user has typed `text`."""
    service = OpenAIRealtimeLLMService(api_key=KEY, base_url=URL)
    messages: Any = [{"role": "user", "content": text}] if text else []
    context = LLMContext(messages, tools) if tools else LLMContext(messages)
    user, assistant = LLMContextAggregatorPair(context)
    ear = Ear()
    if tools:
        service.register_function("get_weather", _weather)
    async with running(user, service, ear, assistant) as worker:
        if text:
            await worker.queue_frame(LLMRunFrame())
        yield worker, ear, service


async def _weather(call: FunctionCallParams) -> None:
    heard["call"] = [call.function_name, dict(call.arguments)]
    await call.result_callback("rain")


async def typed() -> None:
    async with talking(TEXT) as (_, ear, _):
        sound, heard["typed"] = await ear.answer()
    Path("typed.pcm").write_bytes(sound)


async def spoken() -> None:
    async with talking() as (worker, ear, _):
        await worker.queue_frame(LLMRunFrame())
        await worker.queue_frames(question())
        sound, heard["spoken"] = await ear.answer()
    Path("spoken.pcm").write_bytes(sound)


async def tool() -> None:
    schema = FunctionSchema("get_weather", "The weather.", properties={}, required=[])
    async with talking("What is the weather?", ToolsSchema([schema])) as (_, ear, _):
        _, heard["result"] = await ear.answer()


async def interrupted() -> None:
    async with talking(LONG) as (worker, ear, _):
        await ear.until(TTSAudioRawFrame)
        await worker.queue_frames(question(2))
        await ear.until(InterruptionFrame)
        heard["interrupted"] = True


async def reconnected() -> None:
    """The server restarts under a pipeline; the application connects again."""
    async with talking(TEXT) as (worker, ear, service):
        await ear.answer()
        logger.disable("pipecat")  # it logs that the connection broke
        request = urllib.request.Request(os.environ["RESTART_URL"], method="POST")
        await asyncio.to_thread(urllib.request.urlopen, request)
        await service.reset_conversation()
        await worker.queue_frames(question())
        _, heard["after a restart"] = await ear.answer()
        logger.enable("pipecat")


async def transcription() -> None:
    ear = Ear()
    service = OpenAIRealtimeSTTService(api_key=KEY, base_url=URL)
    async with running(service, ear) as worker:
        await worker.queue_frames(question())
        await worker.queue_frame(VADUserStoppedSpeakingFrame())
        heard["transcript"] = (await ear.until(TranscriptionFrame))[-1].text


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
    asyncio.run(every_call(sys.argv[1:]))
    Path("heard.json").write_text(json.dumps(heard, indent=1))
