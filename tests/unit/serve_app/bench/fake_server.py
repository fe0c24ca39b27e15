"""A small OpenAI-compatible server whose pace and failures a test decides."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

PCM_BYTES_PER_SECOND = 48_000


@dataclass
class Script:
    """What the server does with each request."""

    first_after_s: float = 0.0
    pieces: int = 4
    piece_s: float = 0.1  # of audio
    pace_s: float = 0.0  # between pieces
    refuse_every: int = 0  # each n-th request gets a 429
    break_after: int | None = None  # pieces, then the body is torn off
    stream_error: bool = False
    body: bytes | None = None  # in place of any answer, with the status 200
    content_type: str | None = "audio/pcm"  # of speech; of both where there is a `body`
    sound: bytes | None = None  # in place of silence, before it
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    in_flight: int = 0
    most_in_flight: int = 0


def application(script: Script) -> Starlette:
    async def speech(request: Request) -> Response:
        if (refusal := await _refused(request, script)) is not None:
            return refusal
        return StreamingResponse(_pcm(script), headers=_headers(script))

    async def chat(request: Request) -> Response:
        if (refusal := await _refused(request, script)) is not None:
            return refusal
        return StreamingResponse(_events(script), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/v1/audio/speech", speech, methods=["POST"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ]
    )


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[str]:
    """Yields the base URL."""
    config = uvicorn.Config(application(script), port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        await running


async def _refused(request: Request, script: Script) -> Response | None:
    script.keys.add(request.headers.get("authorization", ""))
    script.bodies.append((request.url.path, await request.json()))
    if script.refuse_every and len(script.bodies) % script.refuse_every == 0:
        return JSONResponse({"error": {"message": "full"}}, status_code=429)
    if script.body is not None:
        return Response(script.body, headers=_headers(script))
    return None


def _headers(script: Script) -> dict[str, str]:
    return {} if script.content_type is None else {"content-type": script.content_type}


async def _pcm(script: Script) -> AsyncIterator[bytes]:
    script.in_flight += 1
    script.most_in_flight = max(script.most_in_flight, script.in_flight)
    try:
        await asyncio.sleep(script.first_after_s)
        if script.sound is not None:
            yield script.sound
        for i in range(script.pieces):
            if i:
                await asyncio.sleep(script.pace_s)
            if i == script.break_after:
                raise ConnectionError("as the script says")
            yield bytes(round(script.piece_s * PCM_BYTES_PER_SECOND))
    finally:
        script.in_flight -= 1


async def _events(script: Script) -> AsyncIterator[str]:
    def event(delta: dict[str, Any]) -> str:
        return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n"

    yield event({"role": "assistant", "content": ""})
    async for piece in _pcm(script):
        yield event({"content": "word"})
        yield event({"audio": {"id": "audio-1", "data": base64.b64encode(piece).decode()}})
    if script.stream_error:
        yield f"data: {json.dumps({'error': {'message': 'the engine died'}})}\n\n"
    yield event({"audio": {"expires_at": 1}})
    yield f"data: {json.dumps({'choices': [], 'usage': {}})}\n\n"
    yield "data: [DONE]\n\n"
