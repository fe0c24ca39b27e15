"""From the graph's generators to HTTP answers: first chunk before status, disconnects, aborts."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

import pybase64
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from deployments.errors import RequestError
from serve_app.http.errors import StreamBroken, error_answer, log_if_ours

logger = logging.getLogger(__name__)
T = TypeVar("T")

KEEP_ALIVE_S = 15.0  # between two comments


async def unless_client_leaves(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled as soon as the client is gone.

    Raises:
        ClientDisconnect: the client is gone.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        await _cancel(task, watch)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first_then_rest(request: Request, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """`items` unchanged, once the first one is there: errors before it are still statuses.

    The generator that comes back owns `items`; should there be no first item, it is empty.
    """
    try:
        first = await unless_client_leaves(request, anext(items))
    except StopAsyncIteration:
        return _FirstThenRest([], items)
    except BaseException:
        await items.aclose()
        raise
    return _FirstThenRest([first], items)


class _FirstThenRest(AsyncGenerator[T]):
    """`head` and then `rest`. Closing it closes `rest`, even if the iteration has not begun:

    a generator function would not run its `finally` then.
    """

    def __init__(self, head: list[T], rest: AsyncGenerator[T]) -> None:
        self._head = head
        self._rest = rest

    async def asend(self, value: None) -> T:
        return self._head.pop() if self._head else await anext(self._rest)

    async def athrow(self, *error: Any) -> T:
        return await self._rest.athrow(*error)

    async def aclose(self) -> None:
        await self._rest.aclose()


async def collect(request: Request, items: AsyncGenerator[T]) -> list[T]:
    """All of `items`, unless the client leaves before."""

    async def gather() -> list[T]:
        async with aclosing(items):
            return [item async for item in items]

    return await unless_client_leaves(request, gather())


class StreamedBody(StreamingResponse):
    """A body that ends cleanly only if `body` does.

    An error of the iterator leaves the application, so that the server breaks the connection. An
    error that the caller can mend does so without a traceback: the body just has no end. A client
    that leaves closes the iterator at once, even while no chunk is due.
    """

    def __init__(
        self, body: AsyncGenerator[bytes], media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        headers = {"Cache-Control": "no-store", **(headers or {})}
        super().__init__(body, media_type=media_type, headers=headers)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self.stream_response(send))
        watch = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait((sending, watch), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except RequestError as error:
            logger.info("a stream was broken off: %s", error)
        except OSError:  # the server's: the client is gone
            raise
        except Exception as error:
            log_if_ours(error)
            raise StreamBroken(f"a stream was broken off: {type(error).__name__}") from None
        finally:
            await _cancel(sending, watch)
            await self._body.aclose()


class EventStream(StreamedBody):
    """Server-sent events of `items`, which are closed however the sending ends.

    An error is an event, and then the body has no end: who reads `speech.audio.delta` alone, as
    LiveKit does, would take the sound before it for all of it.

    Written here because streams come in bursts and share one event loop: a second of sound takes
    sse_starlette's encoder 0.3 ms, and 3 µs here.
    """

    def __init__(self, items: AsyncGenerator[BaseModel], done_mark: bool) -> None:
        unbuffered = {"X-Accel-Buffering": "no"}  # by proxies that know it
        super().__init__(self._events(done_mark), "text/event-stream", unbuffered)
        self._items = items
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keeping_alive = asyncio.ensure_future(self._keep_alive(send))
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _cancel(keeping_alive)
            await self._items.aclose()

    async def _keep_alive(self, send: Send) -> None:
        """Now and then a comment, so that no proxy takes a silent stream for a dead one."""
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            if not self._ended:
                await send({"type": "http.response.body", "body": b": ping\n\n", "more_body": True})

    async def _events(self, done_mark: bool) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._items):
                async for item in self._items:
                    yield _event(item.model_dump_json())
            if done_mark:
                yield _event("[DONE]")
        except Exception as error:
            body = {"type": "error", **error_answer(error).body}
            yield b"event: error\n" + _event(json.dumps(body, ensure_ascii=False))
            raise  # clients that skip events they do not know see the broken connection
        finally:
            self._ended = True


def events(items: AsyncGenerator[BaseModel], *, done_mark: bool = False) -> Response:
    """Server-sent events of `items`; a later error becomes the last event of a body without an end.

    `done_mark` ends the stream with `[DONE]`, as chat completions do.
    """
    return EventStream(items, done_mark)


def _event(data: str) -> bytes:
    """One event; `data` is one line, such as JSON without indentation."""
    return f"data: {data}\n\n".encode()


def base64_of(data: bytes) -> str:
    """As JSON carries bytes."""
    return pybase64.b64encode_as_string(data)  # a second of sound: 2 µs, with `base64` 65
