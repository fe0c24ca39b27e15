"""Answers that nobody reads to the end are closed all the same."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import Request

from serve_app.api_types import TranscriptDelta
from serve_app.streaming import events, first_then_rest


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
        await response({"type": "http", "method": "POST"}, never_leaves, gone)
    assert source.closed
