"""The socket and its limits: how large a frame is, and how long it may take."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from serve_app.http.text_stream.types import ServerFrame

# RFC 6455, and IANA's registry of codes.
NORMAL, GOING_AWAY, POLICY, TOO_LARGE, RESTART, TRY_LATER = 1000, 1001, 1008, 1009, 1012, 1013


class Closing(Exception):
    """Raised where the server ends the connection; `reason` is for the client."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Connection:
    """What a client sends, and what it is sent."""

    def __init__(self, socket: WebSocket, idle_s: float) -> None:
        """
        Args:
            socket: an accepted one.
            idle_s: how long nothing may come, and how long the client may take for one frame.
        """
        self._socket = socket
        self._idle_s = idle_s
        self._active_s = time.monotonic()  # when a frame came or went last

    async def receive(self, limit: int, is_expected: Callable[[], bool]) -> str:
        """The next frame, of `limit` characters at most.

        Silence counts only while a frame `is_expected` of the client.

        Raises:
            WebSocketDisconnect: the client is gone.
            Closing: it has broken a rule.
        """
        receiving = asyncio.ensure_future(self._socket.receive())
        try:
            while not receiving.done():
                since_s = self._active_s if is_expected() else time.monotonic()
                left_s = since_s + self._idle_s - time.monotonic()
                if left_s <= 0:
                    raise Closing(GOING_AWAY, f"nothing came or went for {self._idle_s:g} s")
                await asyncio.wait((receiving,), timeout=left_s)
            message = receiving.result()
        finally:
            receiving.cancel()
        self._active_s = time.monotonic()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", NORMAL))
        data: str | None = message.get("text")
        if data is None:
            raise Closing(POLICY, "a frame must be text that holds JSON, not bytes")
        if len(data) > limit:
            raise Closing(TOO_LARGE, f"a frame may have {limit} characters")
        return data

    async def send(self, frame: ServerFrame | bytes) -> None:
        """Send `frame` as soon as the client has read enough of what was sent before.

        Raises:
            WebSocketDisconnect: the client is gone.
            Closing: it reads nothing.
        """
        try:
            async with asyncio.timeout(self._idle_s) as timeout:
                if isinstance(frame, bytes):
                    await self._socket.send_bytes(frame)
                else:
                    await self._socket.send_text(frame.model_dump_json())
        except TimeoutError:
            if timeout.expired():
                raise Closing(TRY_LATER, f"nothing was read for {self._idle_s:g} s") from None
            raise
        self._active_s = time.monotonic()

    async def close(self, closing: Closing) -> None:
        """End the connection, whether or not the client takes the reason."""
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(self._idle_s):
                await self._socket.close(closing.code, closing.reason)
