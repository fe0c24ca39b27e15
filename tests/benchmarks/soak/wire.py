"""Hostile clients below HTTP: odd bytes in headers, slow uploads, connections that break."""

import json
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence

from tests.benchmarks.soak.bodies import CHAT, FINE, SPEECH, TRANSCRIPTIONS, _form
from tests.benchmarks.soak.raw_http import NO_ANSWER, exchange, request
from tests.benchmarks.soak.target import Target, aloud
from tests.integration.http.helpers import wav_of

JSON_TYPE = b"Content-Type: application/json"
FORM_TYPE = b"Content-Type: multipart/form-data; boundary=b"
TEXT = "Please open the window because it is hot."
SLOW_PIECES, SLOW_BETWEEN_S = 20, 0.2
LEAVES_WITHIN_S = 2.0
TOO_LARGE = frozenset({413})
LEFT = frozenset({NO_ANSWER})
# HAProxy answers what it cannot read itself; nobody reads what a client has left.
REFUSED_OR_LEFT = frozenset({NO_ANSWER, 400, 408})
Send = Callable[[Target, random.Random], Awaitable[tuple[int, str]]]

HEADERS: Sequence[bytes] = (
    b"X-Request-Id: caf\xe9",
    b"X-Other: \x80\xff",
    b"Authorization: Bearer caf\xe9",
    b"traceparent: \xe9",
    b"serve_multiplexed_model_id: \xff",
    b"x-request-timeout-seconds: \xe9",
    b"X-Request-Id: one\r\nX-Request-Id: two",
)


def wires() -> Iterator[tuple[str, frozenset[int], Send]]:
    """Name, statuses, what is done."""
    for header in HEADERS:
        name = header.partition(b"\r\n")[0].decode("latin-1").encode("unicode_escape").decode()
        twice = ", twice" if b"\r\n" in header else ""
        yield f"header {name}{twice}", FINE, _with_header(header)
    yield "a slow upload", FINE, slow_upload
    yield "an upload that breaks off", REFUSED_OR_LEFT, broken_upload
    yield "a body shorter than it says", REFUSED_OR_LEFT, short_body
    yield "no HTTP", REFUSED_OR_LEFT, no_http
    yield "an upload that says it is too large", TOO_LARGE, large_upload
    for name, path, body in LEAVING:
        yield f"{name}, left before the answer", LEFT, _leaving(path, body)
        yield f"{name}, left in the middle", FINE, _leaving_amid(path, body)


def _with_header(header: bytes) -> Send:
    async def send(target: Target, draw: random.Random) -> tuple[int, str]:
        status, answer = await exchange(target.address, [request("GET", "/v1/models", [header])])
        ids = answer.partition(b"\r\n\r\n")[0].lower().count(b"\r\nx-request-id:")
        return (status if ids == 1 else -ids), repr(answer[:400])

    return send


async def slow_upload(target: Target, draw: random.Random) -> tuple[int, str]:
    raw = request("POST", TRANSCRIPTIONS, [FORM_TYPE], _form(wav_of(0.5))(target))
    size = len(raw) // SLOW_PIECES + 1
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    status, answer = await exchange(target.address, pieces, between_s=SLOW_BETWEEN_S)
    # nano may find no end in a tone
    return (200 if status == 422 else status), repr(answer[:400])


async def broken_upload(target: Target, draw: random.Random) -> tuple[int, str]:
    raw = request("POST", TRANSCRIPTIONS, [FORM_TYPE], _form(wav_of(2.0))(target))
    part = raw[: draw.randrange(1, len(raw))]
    return await _left(target, part, draw)


async def short_body(target: Target, draw: random.Random) -> tuple[int, str]:
    return await _left(target, request("POST", SPEECH, [JSON_TYPE], b"{}", length=5000), draw)


async def large_upload(target: Target, draw: random.Random) -> tuple[int, str]:
    """The refusal comes before the recording."""
    raw = request("POST", TRANSCRIPTIONS, [FORM_TYPE], length=1 << 30)
    status, answer = await exchange(target.address, [raw])
    return status, repr(answer[:400])


async def no_http(target: Target, draw: random.Random) -> tuple[int, str]:
    status, answer = await exchange(target.address, [draw.randbytes(200) + b"\r\n\r\n"])
    return status, repr(answer[:400])


async def _left(target: Target, raw: bytes, draw: random.Random) -> tuple[int, str]:
    leaves_after_s = draw.uniform(0, LEAVES_WITHIN_S)
    status, _ = await exchange(target.address, [raw], leaves_after_s=leaves_after_s)
    return status, ""


def _leaving(path: str, body: Callable[[Target], dict[str, object]]) -> Send:
    async def send(target: Target, draw: random.Random) -> tuple[int, str]:
        content = json.dumps(body(target)).encode()
        return await _left(target, request("POST", path, [JSON_TYPE], content), draw)

    return send


def _leaving_amid(path: str, body: Callable[[Target], dict[str, object]]) -> Send:
    """Reads the first piece of the answer, and no more."""

    async def send(target: Target, draw: random.Random) -> tuple[int, str]:
        async with target.http.stream("POST", path, json=body(target)) as answer:
            async for _ in answer.aiter_raw():
                break
            return answer.status_code, ""

    return send


LEAVING: Sequence[tuple[str, str, Callable[[Target], dict[str, object]]]] = (
    ("speech", SPEECH, lambda t: t.speech_body(TEXT, t.voices[0], response_format="pcm")),
    ("speech in opus", SPEECH, lambda t: t.speech_body(TEXT, t.voices[0], response_format="opus")),
    ("speech events", SPEECH, lambda t: t.speech_body(TEXT, t.voices[0], stream_format="sse")),
    ("a spoken chat", CHAT, lambda t: _streamed(t) | aloud(t.voices[0], "pcm16")),
    ("a chat", CHAT, lambda t: _streamed(t)),
)


def _streamed(target: Target) -> dict[str, object]:
    message = {"role": "user", "content": TEXT}
    return {"model": target.model, "messages": [message], "stream": True}
