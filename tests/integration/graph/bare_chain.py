"""Three deployments in a row that do nothing but hand on: what Ray Serve itself costs here."""

from collections.abc import AsyncGenerator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve
from ray.serve.handle import DeploymentHandle

from tests.integration.graph.conftest import on_node

http = FastAPI()


@serve.deployment(**on_node())
class Last:
    async def hand_on(self) -> AsyncGenerator[bytes]:
        yield b"sound"


@serve.deployment(**on_node())
class Middle:
    def __init__(self, last: DeploymentHandle) -> None:
        self._last = last.options(stream=True)

    async def hand_on(self) -> AsyncGenerator[bytes]:
        async for piece in self._last.hand_on.remote():
            yield piece


@serve.deployment(**on_node())
@serve.ingress(http)
class Entrance:
    def __init__(self, middle: DeploymentHandle) -> None:
        self._middle = middle.options(stream=True)

    @http.post("/")
    async def answer(self) -> StreamingResponse:
        return StreamingResponse(self._pieces(), media_type="audio/pcm")

    async def _pieces(self) -> AsyncGenerator[bytes]:
        async for piece in self._middle.hand_on.remote():
            yield piece


def bare_chain() -> serve.Application:
    """`POST /` answers with bytes that the last of three deployments makes."""
    return Entrance.bind(Middle.bind(Last.bind()))
