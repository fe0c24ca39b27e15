"""The server that the clients talk to: the real HTTP application over fake engines."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.chunker import ChunkSchedule
from deployments.errors import EngineFailed
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.thinker.fake import FakeThinkerEngine, echo
from deployments.token2wav.fake import FakeSynthesizer
from deployments.voice_store import VoiceStore
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from tests.clients.sockets import RESTART, Socket, Sockets
from tests.served import served

MODEL = "step-audio-2-mini"
KEY = "sk-the-key-of-the-clients"
LIMITED_KEY = "sk-one-request-a-minute"
LIMITED: dict[str, Any] = {
    "api_keys": {"clients": KEY, "limited": LIMITED_KEY},
    "limits_of_key": {"limited": {"requests_per_minute": 1}},
}
OPEN: dict[str, Any] = {"api_keys": {}, "limits_of_key": {}}
BREAKS_OFF = "break off"  # a text whose answer fails after its first piece


class BreakingBackend(FakeServeBackend):
    """Fails after the first piece of an answer to `BREAKS_OFF`."""

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        async for delta in super().text(request):
            yield delta
            fail_if_asked(request)

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        async for delta in super().speech(request):
            yield delta
            if delta.pcm:
                fail_if_asked(request.thinker)


def fail_if_asked(request: ThinkerRequest) -> None:
    if echo(request.messages[-1]) == BREAKS_OFF:
        raise EngineFailed("the answer was to fail")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    status: int
    retries: int  # the client's own count of how often it has asked before


@dataclass(slots=True)
class Noted:
    """An ASGI application whose requests are noted."""

    app: ASGIApp
    requests: list[Asked] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        retries = int(Headers(scope=scope).get("x-stainless-retry-count", "0"))

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                asked = Asked(scope["method"], scope["path"], message["status"], retries)
                self.requests.append(asked)
            await send(message)

        await self.app(scope, receive, noting)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: where it is, and what it was asked."""

    url: str
    requests: list[Asked]
    sockets: list[Socket]

    @property
    def environment(self) -> dict[str, str]:
        """How OpenAI's clients are told of a server and a key without a line of code."""
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": KEY,
            "LIMITED_KEY": LIMITED_KEY,
            "RESTART_URL": self.url + RESTART,
        }


@contextmanager
def fake_server(
    folder: Path, delta_s: float = 0.0, without: str | None = None, **settings: Any
) -> Iterator[Server]:
    """The server, until the block ends; uploaded voices are kept in `folder`.

    The Thinker takes `delta_s` for each piece of an answer. Events of the type `without` are not
    sent on any socket.
    """
    thinker = FakeThinkerEngine(delta_s, max_tokens=4096)
    backend = BreakingBackend(thinker, FakeSynthesizer(ChunkSchedule(), ("ben",)))
    asyncio.run(backend.start())
    http = HttpSettings(**{"models": (MODEL,), **LIMITED, **settings})
    app = create_http_app(backend, http, voice_store=VoiceStore(str(folder)))
    sockets = Sockets(Front(app), without)
    noted = Noted(sockets)
    with served(noted) as url:
        yield Server(url, noted.requests, sockets.all)
