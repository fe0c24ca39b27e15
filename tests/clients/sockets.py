"""The WebSockets of a server: what is sent on them, what is kept back, and when they break."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

RESTART = "/tests/restart"  # a request for it ends all open sockets
RESTART_CODE = 1012

Json = dict[str, Any]


@dataclass(slots=True)
class Socket:
    """One connection."""

    path: str  # with its query
    status: int = 101
    sent: list[Json] = field(default_factory=list)  # by the server
    received: list[Json] = field(default_factory=list)
    code: int | None = None  # that the server closed it with
    break_now: asyncio.Event = field(default_factory=asyncio.Event)

    def kinds(self) -> set[str]:
        """What the server has sent."""
        return {event["type"] for event in self.sent}


@dataclass(slots=True)
class Sockets:
    """An ASGI application whose WebSockets are noted; events of the type `without` are dropped."""

    app: ASGIApp
    without: str | None = None
    all: list[Socket] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == RESTART:
            return await self._restart(send)
        if scope["type"] != "websocket":
            return await self.app(scope, receive, send)
        query = scope["query_string"].decode()
        socket = Socket(f"{scope['path']}?{query}" if query else scope["path"])
        self.all.append(socket)
        serving = asyncio.ensure_future(self._serve(socket, scope, receive, send))
        breaking = asyncio.ensure_future(socket.break_now.wait())
        await asyncio.wait((serving, breaking), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            serving.cancel()
            socket.code = RESTART_CODE
            await send({"type": "websocket.close", "code": RESTART_CODE})
        breaking.cancel()
        await asyncio.gather(serving, breaking, return_exceptions=True)

    async def _serve(self, socket: Socket, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_note() -> Message:
            message = await receive()
            if text := message.get("text"):
                socket.received.append(json.loads(text))
            return message

        async def note_and_send(message: Message) -> None:
            if message["type"] == "websocket.http.response.start":
                socket.status = message["status"]
            if message["type"] == "websocket.close":
                socket.code = message["code"]
            if text := message.get("text"):
                event = json.loads(text)
                if event["type"] == self.without:
                    return
                socket.sent.append(event)
            await send(message)

        await self.app(scope, receive_and_note, note_and_send)

    async def _restart(self, send: Send) -> None:
        for socket in self.all:
            socket.break_now.set()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
