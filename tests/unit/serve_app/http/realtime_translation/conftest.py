"""An interpreter over fake engines, and a speaker with a recorded human voice."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager

import numpy as np
import pytest
import pytest_asyncio
import soundfile
import soxr
from openai.types.realtime.realtime_translation_server_event import RealtimeTranslationServerEvent

from deployments.messages import SpeechDelta, SpeechRequest
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from tests.integration.http.conftest import Graph
from tests.places import NANO
from tests.unit.serve_app.http.realtime.client import Client, Json, connected, kinds_of
from tests.unit.serve_app.http.realtime.microphone import as_audio, silence

PATH = "/v1/realtime/translations"
KINDS = kinds_of(RealtimeTranslationServerEvent)
RATE_HZ = 24_000


class NotedBackend(FakeServeBackend):
    """Notes what is to be spoken, and fails the phrases whose numbers are in `fails`.

    With `answers` it gives these deltas, whatever it is asked.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.thinker, graph.synthesizer)
        self.spoken: list[SpeechRequest] = []
        self.fails: dict[int, Exception] = {}
        self.answers: tuple[SpeechDelta, ...] = ()

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        self.spoken.append(request)
        if error := self.fails.get(len(self.spoken)):
            raise error
        for delta in self.answers:
            yield delta
        if self.answers:
            return
        async for delta in super().speech(request):
            yield delta


class InterpretingGraph(Graph):
    def __init__(self, seconds_per_delta: float = 0.0, **settings: object) -> None:
        super().__init__(seconds_per_delta, **settings)
        self.noted = NotedBackend(self)
        self.app = create_http_app(self.noted, self.settings)


async def interpreting(seconds_per_delta: float = 0.0, **settings: object) -> InterpretingGraph:
    graph = InterpretingGraph(seconds_per_delta, **settings)
    await graph.noted.start()
    return graph


def opened(graph: Graph, **query: str) -> AbstractAsyncContextManager[Client]:
    return connected(graph.app, path=PATH, kinds=KINDS, **query)


async def speak(client: Client, *sounds: np.ndarray) -> None:
    """Send sounds ([N] int16, 24 kHz) in pieces of 200 ms, as OpenAI's clients do."""
    samples = np.concatenate(sounds)
    for start in range(0, len(samples), RATE_HZ // 5):
        piece = as_audio(samples[start : start + RATE_HZ // 5])
        await client.send("session.input_audio_buffer.append", audio=piece)


async def to_the_end(client: Client) -> list[Json]:
    """All events of a session that the client closes."""
    await client.send("session.close")
    return await client.until("session.closed")


def texts(events: list[Json], whose: str = "output") -> str:
    kind = f"session.{whose}_transcript.delta"
    return "".join(event["delta"] for event in events if event["type"] == kind)


@pytest.fixture(scope="session")
def sentence() -> np.ndarray:
    """Some seconds of a voice, [N] int16 at 24 kHz, without a pause of 400 ms."""
    samples, rate_hz = soundfile.read(NANO / "voices" / "low.wav", dtype="float32")
    return (soxr.resample(samples, rate_hz, RATE_HZ) * 32767).astype(np.int16)


@pytest_asyncio.fixture
async def graph() -> InterpretingGraph:
    return await interpreting()


@pytest_asyncio.fixture
async def client(graph: InterpretingGraph) -> AsyncIterator[Client]:
    """A client that has read `session.created`."""
    async with opened(graph) as client:
        await client.expect("session.created")
        yield client


async def until_idle(graph: Graph) -> None:
    async with asyncio.timeout(5):
        while not graph.idle():
            await asyncio.sleep(0.01)


PAUSE = silence(1.0)
