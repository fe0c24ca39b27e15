"""Bodies that are too large or too slow are given up while they come."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import MODEL, eventually

FORM = "multipart/form-data; boundary=b"
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nx\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
)


class Upload:
    """One request whose body comes as a test says; counts what is taken of it."""

    def __init__(
        self, body: AsyncIterator[bytes], declared: int | None = None, kind: str = FORM
    ) -> None:
        self._body = body
        self._headers = [(b"content-type", kind.encode())]
        if declared is not None:
            self._headers.append((b"content-length", str(declared).encode()))
        self.taken = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.answer = b""

    async def send_to(self, app: ASGIApp, path: str) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": self._headers,
            "http_version": "1.1",
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        piece = await anext(self._body, b"")
        self.taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        self.answer += message.get("body", b"")


def app_of(**settings: Any) -> ASGIApp:
    return create_http_app(ScriptedBackend(), HttpSettings(models=(MODEL,), **settings))


async def stopping() -> AsyncIterator[bytes]:
    yield HEAD
    await asyncio.Event().wait()


async def endless() -> AsyncIterator[bytes]:
    yield HEAD
    while True:
        yield bytes(1 << 16)


async def steady() -> AsyncIterator[bytes]:
    yield HEAD + bytes(100_000)  # which a slow line may take 100 s for
    for _ in range(4):
        await asyncio.sleep(0.05)
        yield bytes(1000)
    yield b"\r\n--b--\r\n"


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/speech"])
async def test_an_upload_that_stops_coming_is_a_408_that_closes_the_connection(path: str) -> None:
    upload = Upload(stopping())
    async with asyncio.timeout(20):
        await upload.send_to(app_of(upload_timeout_s=0.05), path)
    assert upload.status == 408
    assert b'"request_timeout"' in upload.answer
    assert upload.headers[b"connection"] == b"close"


async def test_an_upload_that_keeps_coming_may_take_longer() -> None:
    upload = Upload(steady())
    await upload.send_to(app_of(upload_timeout_s=0.05), "/v1/audio/transcriptions")
    assert upload.status == 404  # there is no model x: the whole body was read


@pytest.mark.parametrize("declared", [None, 10 << 30])
async def test_ten_gigabytes_are_refused_before_more_than_the_limit_is_held(
    declared: int | None,
) -> None:
    limit = 4 << 20
    app = app_of(max_recording_bytes=limit)
    await Upload(steady()).send_to(app, "/v1/audio/transcriptions")  # loads what is loaded late
    upload = Upload(endless(), declared)
    tracemalloc.start()
    await upload.send_to(app, "/v1/audio/transcriptions")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert upload.status == 413
    assert upload.taken <= (0 if declared else limit + (1 << 16))
    assert held < 2 << 20  # a file goes to the disk from 1 MiB on


@pytest.mark.parametrize(
    "path", ["audio/speech", "chat/completions", "audio/voices", "audio/translations", "models"]
)
async def test_ten_declared_gigabytes_are_refused_unread_wherever_they_are_sent(path: str) -> None:
    upload = Upload(endless(), declared=10 << 30)
    await upload.send_to(app_of(), f"/v1/{path}")
    assert (upload.status, upload.taken) == (413, 0)


async def test_an_answer_may_take_longer_than_an_upload() -> None:
    graph = Graph(seconds_per_delta=0.05, upload_timeout_s=0.1)
    await graph.backend.start()
    body = {"model": MODEL, "input": "A text of some length. ", "response_format": "pcm"}
    transport = httpx.ASGITransport(graph.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        answer = await client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200 and answer.elapsed.total_seconds() > 0.1


async def trickle() -> AsyncIterator[bytes]:
    yield HEAD
    while True:
        await asyncio.sleep(0.05)
        yield b"x"


TRICKLED = (
    ("/v1/audio/transcriptions", FORM),
    ("/v1/audio/voices", FORM),
    ("/v1/chat/completions", "application/json"),
)


@pytest.mark.parametrize(("path", "kind"), TRICKLED)
async def test_an_upload_that_trickles_is_a_408(path: str, kind: str) -> None:
    upload = Upload(trickle(), kind=kind)
    async with asyncio.timeout(60):
        await upload.send_to(app_of(upload_timeout_s=0.3), path)
    assert upload.status == 408


async def test_uploads_that_trickle_hold_neither_memory_nor_anybody_else() -> None:
    graph = Graph()
    await graph.backend.start()
    uploads = [(Upload(trickle(), kind=kind), path) for path, kind in TRICKLED * 30]
    tracemalloc.start()
    slow = [asyncio.create_task(upload.send_to(graph.app, path)) for upload, path in uploads]
    assert await eventually(lambda: all(upload.taken > len(HEAD) for upload, _ in uploads), 60)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    transport = httpx.ASGITransport(graph.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        body = {"model": MODEL, "input": "Meanwhile.", "response_format": "pcm"}
        answer = await client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200
    assert not any(upload.status for upload, _ in uploads)
    assert held / len(uploads) < 100_000
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
