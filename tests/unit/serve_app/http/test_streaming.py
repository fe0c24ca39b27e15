"""What is sent of an answer, and that it is closed even if nobody reads it to the end."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import Request

from deployments.errors import ServerFull, SpeechTooLong
from serve_app.http import streaming
from serve_app.http.errors import StreamBroken
from serve_app.http.streaming import base64_of, events, first_then_rest
from serve_app.http.transcription.types import TranscriptDelta

SCOPE = {"type": "http", "method": "POST"}


class Source:
    """Gives deltas without end, and notes when it is closed."""

    def __init__(self) -> None:
        self.closed = False

    async def deltas(self) -> AsyncGenerator[TranscriptDelta]:
        try:
            while True:
                yield TranscriptDelta(delta="x")
        finally:
            self.closed = True


async def never_leaves() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


def request() -> Request:
    return Request({"type": "http", "method": "POST", "headers": []}, never_leaves)


async def test_the_first_item_comes_again_before_the_rest() -> None:
    async def numbers() -> AsyncGenerator[int]:
        for number in range(3):
            yield number

    assert [n async for n in await first_then_rest(request(), numbers())] == [0, 1, 2]


async def test_an_answer_that_nobody_began_to_read_is_closed() -> None:
    source = Source()
    items = await first_then_rest(request(), source.deltas())
    await items.aclose()
    assert source.closed


async def test_events_whose_client_is_gone_at_once_close_their_source() -> None:
    source = Source()
    response = events(await first_then_rest(request(), source.deltas()))

    async def gone(message: Any) -> None:
        raise OSError("the connection is closed")

    with pytest.raises((OSError, ExceptionGroup)):
        await response(SCOPE, never_leaves, gone)
    assert source.closed


class Sent:
    """What an application sends."""

    def __init__(self) -> None:
        self.start: dict[str, Any] = {}
        self.pieces: list[bytes] = []
        self.ended = False

    async def __call__(self, message: Any) -> None:
        assert not self.ended
        if message["type"] == "http.response.start":
            self.start = message
            return
        self.ended = not message["more_body"]
        if message["body"]:
            self.pieces.append(message["body"])


async def two_texts() -> AsyncGenerator[TranscriptDelta]:
    for text in ("one\ntwo\r\n", "\u00e4\u2028\U0001f600"):
        yield TranscriptDelta(delta=text)


async def test_an_event_is_one_piece_and_one_line_whatever_its_text_holds() -> None:
    sent = Sent()
    await events(two_texts(), done_mark=True)(SCOPE, never_leaves, sent)
    assert sent.ended
    first, second, done = sent.pieces
    assert first == b'data: {"type":"transcript.text.delta","delta":"one\\ntwo\\r\\n"}\n\n'
    assert json.loads(second.removeprefix(b"data: "))["delta"] == "\u00e4\u2028\U0001f600"
    assert done == b"data: [DONE]\n\n"


async def test_events_are_announced_as_a_stream_that_nobody_should_keep_or_hold_back() -> None:
    sent = Sent()
    await events(two_texts())(SCOPE, never_leaves, sent)
    assert dict(sent.start["headers"]) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-store",
        b"x-accel-buffering": b"no",
    }


@pytest.mark.parametrize(
    ("failure", "code"),
    [(ServerFull(), "server_full"), (SpeechTooLong(9, 8), "context_length_exceeded")],
)
async def test_a_later_error_is_the_last_event_of_a_body_that_has_no_end(
    failure: Exception, code: str
) -> None:
    async def breaks() -> AsyncGenerator[TranscriptDelta]:
        yield TranscriptDelta(delta="x")
        raise failure

    sent = Sent()
    with suppress(StreamBroken):  # for the server; the caller's own error leaves no traceback
        await events(breaks(), done_mark=True)(SCOPE, never_leaves, sent)
    assert not sent.ended
    _, error = sent.pieces
    name, data, *end = error.decode().split("\n")
    assert (name, end) == ("event: error", ["", ""])
    told = json.loads(data.removeprefix("data: "))
    assert told["type"] == "error"
    assert told["error"]["code"] == code


async def test_a_silent_stream_is_kept_alive_with_comments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.02)

    async def slow() -> AsyncGenerator[TranscriptDelta]:
        await asyncio.sleep(0.1)
        yield TranscriptDelta(delta="x")

    sent = Sent()
    await events(slow())(SCOPE, never_leaves, sent)
    *comments, event = sent.pieces
    assert len(comments) >= 2 and set(comments) == {b": ping\n\n"}
    assert event.startswith(b"data: ")
    await asyncio.sleep(0.05)
    assert sent.pieces[-1] == event  # and nothing after the end


async def test_a_client_that_leaves_while_no_event_is_due_closes_the_source() -> None:
    closed = asyncio.Event()

    async def silent() -> AsyncGenerator[TranscriptDelta]:
        try:
            await asyncio.Event().wait()
            yield TranscriptDelta(delta="x")
        finally:
            closed.set()

    async def leaves() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    await events(silent())(SCOPE, leaves, Sent())
    assert closed.is_set()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 48_000])
def test_bytes_travel_as_the_standard_base64(size: int) -> None:
    data = bytes(n * 7 % 256 for n in range(size))
    assert base64_of(data) == base64.b64encode(data).decode()
