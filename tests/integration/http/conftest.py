"""The HTTP application over fake engines, in this process, and OpenAI's client in front of it."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI

from deployments.chunker import ChunkSchedule
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.thinker.fake import FakeThinkerEngine
from deployments.token2wav.fake import FakeSynthesizer
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from tests.integration.http.helpers import MODEL, wav_of

SCHEDULE = ChunkSchedule()


class Graph:
    """The fake engines joined, and the HTTP application over them."""

    def __init__(self, seconds_per_delta: float = 0.0, **settings: object) -> None:
        self.thinker = FakeThinkerEngine(seconds_per_delta)
        self.synthesizer = FakeSynthesizer(SCHEDULE, voices=("anna",))
        self.backend = FakeServeBackend(self.thinker, self.synthesizer)
        self.settings = HttpSettings(models=(MODEL,), **settings)  # type: ignore[arg-type]
        self.app = create_http_app(self.backend, self.settings)

    def idle(self) -> bool:
        """Whether neither stage holds anything of a request."""
        return not self.thinker.active_requests() and not self.synthesizer.open_streams


class ScriptedBackend:
    """Gives the deltas, or raises the errors, that a test writes down; counts what is open."""

    def __init__(self, *script: object) -> None:
        self.script = script
        self.open = 0
        self.thinker_requests: list[ThinkerRequest] = []
        self.is_ready = True
        self.can_speak = True

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        self.thinker_requests.append(request)
        async for delta in self._play():
            yield delta  # type: ignore[misc]

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        self.thinker_requests.append(request.thinker)
        async for delta in self._play():
            yield delta  # type: ignore[misc]

    async def _play(self) -> AsyncGenerator[object]:
        self.open += 1
        try:
            for step in self.script:
                await asyncio.sleep(0)
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.open -= 1

    async def voices(self) -> tuple[str, ...]:
        return ("default",)

    async def ready(self) -> bool:
        return self.is_ready and self.can_speak

    async def ready_for_text(self) -> bool:
        return self.is_ready


@asynccontextmanager
async def openai_client(app: FastAPI, key: str = "any") -> AsyncIterator[AsyncOpenAI]:
    """The unmodified client, straight into the ASGI application, without retries."""
    transport = httpx.ASGITransport(Front(app), raise_app_exceptions=False)
    async with AsyncOpenAI(
        api_key=key,
        base_url="http://server/v1",
        max_retries=0,
        http_client=httpx.AsyncClient(transport=transport),
    ) as client:
        yield client


@pytest_asyncio.fixture
async def graph() -> Graph:
    graph = Graph()
    await graph.backend.start()
    return graph


@pytest_asyncio.fixture
async def openai(graph: Graph) -> AsyncIterator[AsyncOpenAI]:
    async with openai_client(graph.app) as client:
        yield client


@pytest_asyncio.fixture
async def raw(graph: Graph) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Front(graph.app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.fixture
def recording() -> tuple[str, bytes]:
    """1.5 s of a tone, as a file's name and bytes."""
    return "tone.wav", wav_of(seconds=1.5)


@asynccontextmanager
async def _listening(app: FastAPI) -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(Front(app), log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


@pytest.fixture
def listening() -> Callable[[FastAPI], object]:
    """`async with listening(app) as url`: a real uvicorn on a free port."""
    return _listening


@asynccontextmanager
async def _scripted_raw(
    backend: ScriptedBackend, **settings: object
) -> AsyncIterator[httpx.AsyncClient]:
    app = create_http_app(backend, HttpSettings(models=(MODEL,), **settings))  # type: ignore[arg-type]
    transport = httpx.ASGITransport(Front(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        yield client


@pytest.fixture
def scripted_raw() -> Callable[..., object]:
    """`async with scripted_raw(backend) as client`: httpx in front of scripted deltas."""
    return _scripted_raw
