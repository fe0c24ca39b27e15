"""A client of `WS /v1/audio/speech/stream`, and the server of fake engines that it talks to."""

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from deployments.messages import SpeechDelta, SpeechRequest, Usage
from deployments.thinker.fake import audio_tokens_of
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph
from tests.integration.http.helpers import MODEL

PATH = "/v1/audio/speech/stream"
SENTENCES = ("The first sentence stands here.", "And the second one is there!", "It is the last.")
TEXT = " ".join(SENTENCES)
SOUND = Usage(5, 7)


class Asked(FakeServeBackend):
    """Notes what it is asked to speak."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.thinker, graph.synthesizer)
        self._started = True
        self.requests: list[SpeechRequest] = []

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        self.requests.append(request)
        async for delta in super().speech(request):
            yield delta

    def texts(self) -> list[list[str]]:
        """The passages of each request."""
        return [
            [thinker.messages[-1].parts[0].text for thinker in (each.thinker, *more)]  # type: ignore[union-attr]
            for each in self.requests
            for more in [[part.thinker for part in each.then]]
        ]


@dataclass
class Heard:
    """What came of one text."""

    events: list[dict[str, Any]] = field(default_factory=list)
    sound: bytes = b""

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]

    def texts(self) -> list[str]:
        return [e["sentence_text"] for e in self.events if e["type"] == "audio.start"]


class Client:
    """A connection of the socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def event(self) -> dict[str, Any]:
        """The next one; sound is skipped."""
        while isinstance(frame := await self.socket.recv(), bytes):
            pass
        event: dict[str, Any] = json.loads(frame)
        return event

    async def hear(self, until: str = "session.done") -> Heard:
        heard = Heard()
        while not heard.events or heard.events[-1]["type"] != until:
            frame = await self.socket.recv()
            if isinstance(frame, bytes):
                heard.sound += frame
            else:
                heard.events.append(json.loads(frame))
                heard.sound += base64.b64decode(heard.events[-1].get("delta", ""))
        return heard

    async def say(self, text: str, step: int = 5) -> Heard:
        for begin in range(0, len(text), step):
            await self.send("input.text", text=text[begin : begin + step])
        await self.send("input.done")
        return await self.hear()


@asynccontextmanager
async def connected(url: str, config: dict[str, Any] | None = None) -> AsyncIterator[Client]:
    """A connection that is configured, unless `config` is None."""
    async with connect(url.replace("http", "ws") + PATH) as socket:
        client = Client(socket)
        if config is not None:
            await client.send("session.config", response_format="pcm", **config)
            assert (await client.event())["type"] == "session.configured"
        yield client


@dataclass(frozen=True)
class Served:
    """The fake engines behind a server that many tests share."""

    graph: Graph
    url: str


@asynccontextmanager
async def serving(
    listening: Any, backend: Any, config: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Client]:
    app = create_http_app(backend, HttpSettings(models=(MODEL,), **settings))
    async with listening(app) as url, connected(url, config) as client:
        yield client


def sound_of(texts: Sequence[str]) -> bytes:
    tokens = [token for text in texts for token in audio_tokens_of(text)]
    return np.repeat(np.array(tokens, "<i2"), 960).tobytes()


async def close_code(client: Client) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await client.socket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code
