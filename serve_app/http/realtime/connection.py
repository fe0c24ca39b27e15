"""One WebSocket from its handshake to its end."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from serve_app.http.access.gate import SUBPROTOCOL, refusal
from serve_app.http.errors import log_if_ours
from serve_app.http.realtime.client_events import read_object
from serve_app.http.realtime.inflow import Inflow
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.realtime.outbox import ClientTooSlow, Outbox
from serve_app.http.realtime.session_ends import (
    INTERNAL,
    POLICY_VIOLATION,
    TOO_BIG,
    SessionEnds,
    draining,
    expired,
    idle,
)
from serve_app.http.settings import RealtimeSettings

logger = logging.getLogger(__name__)

LARGE_FRAME = 128 << 10  # is parsed beside the event loop
GRACE_S = 20.0  # for an answer to be heard, before a replica stops
LOOK_EVERY_S = 0.1
LAST_WORDS_S = 2.0  # for what waits to be sent when the server ends a session
MAX_REASON_BYTES = 123  # of a close frame


class ServedSession(Protocol):
    """What a connection needs of the session that it serves."""

    outbox: Outbox

    async def open(self, given: dict[str, Any]) -> None:
        """Begin with the settings that a client secret brings, perhaps none."""

    async def handle(self, value: dict[str, Any]) -> bool:
        """Do what a client event says, or answer it with an error. Whether it was done."""

    def refuse(self, error: BaseException, event_id: Any = None) -> None:
        """Answer an event with an error."""

    def is_answering(self) -> bool:
        """Whether something is being said, so that an end may wait."""

    async def close(self) -> None:
        """Stop all that is under way."""


class Connection:
    """Reads a client's frames, sends the session's events, and ends either in time."""

    def __init__(
        self, websocket: WebSocket, settings: RealtimeSettings, sessions: Sessions
    ) -> None:
        self._socket = websocket
        self._settings = settings
        self._sessions = sessions
        self._inflow = Inflow()
        self._heard_at_s = time.monotonic()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        """End the session by what went wrong in one of its tasks."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def accept(self) -> None:
        """Open the socket; of the subprotocols that are offered `realtime` is taken."""
        offered = self._socket.scope.get("subprotocols", ())
        await self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)

    async def run(self, session: ServedSession, given: dict[str, Any]) -> None:
        """Serve `session`, which begins with the settings `given`, until one side ends it."""
        try:
            ending = await self._serve(session, given)
        finally:
            await session.close()
        await self._end(session, ending)

    async def _serve(self, session: ServedSession, given: dict[str, Any]) -> BaseException:
        """What ends the session."""
        try:
            await session.open(given)
        except Exception as error:
            log_if_ours(error)
            session.refuse(error)
            return SessionEnds(POLICY_VIOLATION, "the session cannot begin as it was asked for")
        works = (
            self._read(session),
            session.outbox.drain(self._socket.send_text),
            self._limited(session),
            _raised(self._failed),
        )
        return await _first_to_end(*works)

    async def _read(self, session: ServedSession) -> None:
        while True:
            frame = await self._frame()
            self._heard_at_s = time.monotonic()
            self._inflow.take(len(frame))
            try:
                value = await _parsed(frame)
            except Exception as error:
                session.refuse(error)
                self._inflow.refused()
                continue
            if not await session.handle(value):
                self._inflow.refused()
            await asyncio.sleep(0)  # frames that are there already do not hold up other sessions

    async def _frame(self) -> str | bytes:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text: str | None = message.get("text")
        return message.get("bytes", b"") if text is None else text

    async def _limited(self, session: ServedSession) -> None:
        """Raise SessionEnds when the session has lasted long enough."""
        loop = asyncio.get_running_loop()
        watch = asyncio.ensure_future(self._sessions.drained())
        ends_at = loop.time() + self._settings.max_session_s
        try:
            while True:
                idle_s = time.monotonic() - self._heard_at_s
                left_s = min(ends_at - loop.time(), self._settings.idle_s - idle_s)
                if ends_at <= loop.time():
                    raise expired(self._settings.max_session_s)
                if idle_s >= self._settings.idle_s:
                    raise idle(self._settings.idle_s)
                await asyncio.wait((watch,), timeout=left_s)
                if watch.done():
                    await _quiet(session)
                    raise draining()
        finally:
            watch.cancel()

    async def _end(self, session: ServedSession, ending: BaseException) -> None:
        """Close the socket, unless the client has."""
        if isinstance(ending, WebSocketDisconnect | OSError):
            return
        if not isinstance(ending, SessionEnds):
            ending = _foreseen(ending)
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                if ending.error is not None:
                    session.refuse(ending.error)
                await session.outbox.flush(self._socket.send_text)
                await self._socket.close(ending.code, _reason(ending.reason))
        except (TimeoutError, ClientTooSlow, WebSocketDisconnect, RuntimeError, OSError):
            logger.info("a session's client was gone before its end")


async def deny(websocket: WebSocket, error: Exception) -> None:
    """Answer a handshake with an error in place of a session."""
    log_if_ours(error)
    await refusal(error, websocket.scope)(websocket.scope, websocket.receive, websocket.send)


def _foreseen(error: BaseException) -> SessionEnds:
    if isinstance(error, ClientTooSlow):
        return SessionEnds(TOO_BIG, "the client does not read what is sent")
    log_if_ours(error)
    return SessionEnds(INTERNAL, "the server failed")


def _reason(text: str) -> str:
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")


async def _parsed(frame: str | bytes) -> dict[str, Any]:
    if len(frame) > LARGE_FRAME:
        return await asyncio.to_thread(read_object, frame)
    return read_object(frame)


async def _quiet(session: ServedSession) -> None:
    """Wait for the end of an answer, but not for a long one."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + GRACE_S
    while session.is_answering() and loop.time() < ends_at:
        await asyncio.sleep(LOOK_EVERY_S)


async def _raised(failure: "asyncio.Future[None]") -> None:
    await failure


async def _first_to_end(*works: Coroutine[Any, Any, None]) -> BaseException:
    """What ends the first of `works`; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(task for task in tasks if task.done())
        return ended.exception() or RuntimeError("a session's task has no end")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
