"""What is large or takes long is a 4xx with a reason; nobody else's sound waits for it."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.types import ASGIApp

from tests.integration.http.conftest import Graph
from tests.integration.http.helpers import MODEL, eventually

MIB = 1 << 20
LARGE = 12 * MIB  # half of what a request may be
JSON, FORM = b"application/json", b"multipart/form-data; boundary=b"
FIELD = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
HI = b'{"role":"user","content":"hi"}'


def chat(messages: bytes = HI, more: bytes = b"") -> bytes:
    return b'{"model":"%s","messages":[%s]%s}' % (MODEL.encode(), messages, more)


def keys(count: int) -> bytes:
    return b",".join(b'"%d":""' % number for number in range(count))


def form(*parts: bytes) -> bytes:
    return b"".join((FIELD % (b"model", MODEL.encode()), *parts, b"--b--\r\n"))


def repeated(item: bytes, size: int = LARGE) -> bytes:
    return b",".join([item] * (size // (len(item) + 1)))


def field(number: int, value: bytes) -> bytes:
    return FIELD % (b"%d" % number, value)


def file(number: int) -> bytes:
    return FILE % (b"%d" % number, b"a.wav", bytes(999_999))


def chat_with(data: bytes) -> bytes:
    part = b'{"type":"input_audio","input_audio":{"format":"wav","data":"%s"}}' % data
    return chat(b'{"role":"user","content":[%s]}' % part)


def speech(text: bytes) -> bytes:
    return b'{"model":"%s","input":"%s","response_format":"pcm"}' % (MODEL.encode(), text)


CHAT, SPEECH, WRITE = "/v1/chat/completions", "/v1/audio/speech", "/v1/audio/transcriptions"
BODIES: dict[str, tuple[str, bytes, Callable[[], bytes]]] = {
    "empty messages": (CHAT, JSON, lambda: chat(repeated(b"{}"))),
    "messages": (CHAT, JSON, lambda: chat(repeated(HI))),
    "wrong messages": (CHAT, JSON, lambda: chat(repeated(b"{}", 60_000))),
    "arrays": (CHAT, JSON, lambda: chat(repeated(b"[]"))),
    "an open array": (CHAT, JSON, lambda: b"[" * LARGE),
    "numbers, then NaN": (CHAT, JSON, lambda: b"[" + repeated(b"0") + b",NaN]"),
    "biases": (CHAT, JSON, lambda: chat(more=b',"logit_bias":{%s}' % keys(30_000))),
    "stop strings": (CHAT, JSON, lambda: chat(more=b',"stop":[%s]' % repeated(b"0", 90_000))),
    "a text": (CHAT, JSON, lambda: chat(b'{"role":"user","content":"%s"}' % (b"x" * LARGE))),
    "a text to speak": (SPEECH, JSON, lambda: speech(b"x" * LARGE)),
    "1 MB to speak": (SPEECH, JSON, lambda: speech(b"x" * 1_000_000)),
    "no base64": (CHAT, JSON, lambda: chat_with(b"A" * LARGE + b"*")),
    "10 000 fields": (WRITE, FORM, lambda: form(*(field(i, b"x") for i in range(10_000)))),
    "large fields": (WRITE, FORM, lambda: form(*(field(i, b"x" * 999_999) for i in range(24)))),
    "files": (WRITE, FORM, lambda: form(*map(file, range(24)))),
    "line ends": (WRITE, FORM, lambda: form(FILE % (b"file", b"a.wav", b"\r\n-" * (2 * MIB)))),
}


class Caller:
    """One request straight into the application; its body comes in pieces, as from a socket."""

    def __init__(self, path: str, kind: bytes, body: bytes) -> None:
        self._path, self._headers, self._body = path, [(b"content-type", kind)], body
        self._at = 0
        self.status = 0
        self.answer = b""
        self.sent_at_s: list[float] = []  # CPU time of the event loop's thread

    async def call(self, app: ASGIApp) -> None:
        path = self._path.encode()
        scope = {"type": "http", "method": "POST", "path": self._path, "raw_path": path}
        await app({**scope, "query_string": b"", "headers": self._headers}, self._get, self._send)

    async def _get(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self._at >= len(self._body) > 0:
            await asyncio.Event().wait()
        piece = self._body[self._at : self._at + 65_536]
        self._at += len(piece)
        return {
            "type": "http.request",
            "body": piece,
            "more_body": self._at < len(self._body),
        }

    async def _send(self, message: Any) -> None:
        self.sent_at_s.append(time.thread_time())
        self.status = message.get("status", self.status)
        if self.status >= 400:
            self.answer += message.get("body", b"")


@pytest.mark.parametrize("name", BODIES)
async def test_a_large_body_is_a_400_with_a_reason(graph: Graph, name: str) -> None:
    path, kind, body = BODIES[name]
    caller = Caller(path, kind, body())
    await caller.call(graph.app)
    assert caller.status in (400, 404), caller.answer
    assert b'"message":"' in caller.answer and len(caller.answer) < 2000


async def test_other_streams_hear_no_gap_meanwhile(graph: Graph) -> None:
    sent_at_s: list[float] = []

    async def listen() -> None:
        while True:
            listener = Caller(SPEECH, JSON, speech(b"A text that is spoken meanwhile. " * 30))
            listener.sent_at_s = sent_at_s
            await listener.call(graph.app)

    listening = asyncio.create_task(listen())
    assert await eventually(lambda: len(sent_at_s) > 3, within_s=20)
    before = len(sent_at_s)
    for path, kind, body in BODIES.values():
        await Caller(path, kind, await asyncio.to_thread(body)).call(graph.app)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    gaps_s = np.diff(sent_at_s[before - 1 :])
    assert len(gaps_s) > 50
    assert max(gaps_s) < 0.33, max(gaps_s)  # the least that a listener has in advance


@pytest.mark.parametrize("name", ["messages", "large fields", "files"])
async def test_what_is_refused_takes_no_more_memory_than_it_has_bytes(
    graph: Graph, name: str
) -> None:
    path, kind, make = BODIES[name]
    body = make()
    await Caller(path, kind, body[:1000]).call(graph.app)  # loads what is loaded late
    tracemalloc.start()
    await Caller(path, kind, body).call(graph.app)
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * len(body)
    assert held < MIB
    assert graph.idle()
