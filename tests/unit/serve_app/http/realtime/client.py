"""A client of the socket, in this process, that believes no event which OpenAI's types refuse."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args
from urllib.parse import urlencode

from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from pydantic import BaseModel

MAX_EVENT_BYTES = 256 << 10
WITHIN_S = 10.0
DENIAL = "websocket.http.response"
Json = dict[str, Any]
Kinds = dict[str, type[BaseModel]]


def kinds_of(union: Any) -> Kinds:
    """The members of one of OpenAI's unions of events, by their types."""
    members = get_args(get_args(union)[0])
    return {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in members}


KINDS = kinds_of(RealtimeServerEvent)


class Denied(Exception):
    """The server answered a status in place of the handshake."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = json.loads(body)


class Closed(Exception):
    """The server closed the socket."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Client:
    """Sends client events and reads server events."""

    def __init__(self, app: Any, scope: Json, kinds: Kinds) -> None:
        self._kinds = kinds
        self._to_app: asyncio.Queue[Json] = asyncio.Queue()
        self._from_app: asyncio.Queue[Json] = asyncio.Queue()
        self._to_app.put_nowait({"type": "websocket.connect"})
        self.serving = asyncio.ensure_future(
            app(scope, self._to_app.get, self._from_app.put)  # type: ignore[arg-type]
        )
        self.seen: list[Json] = []
        self.subprotocol: str | None = None

    async def handshake(self) -> None:
        message = await self._next()
        if message["type"] == "websocket.http.response.start":
            body = await self._next()
            raise Denied(message["status"], body["body"])
        if message["type"] == "websocket.close":
            raise Closed(message["code"])
        self.subprotocol = message["subprotocol"]

    async def _next(self) -> Json:
        return await asyncio.wait_for(self._from_app.get(), WITHIN_S)

    async def send(self, kind: str, **fields: Any) -> None:
        await self.send_text(json.dumps({"type": kind, **fields}))

    async def send_text(self, text: str) -> None:
        await self._to_app.put({"type": "websocket.receive", "text": text})

    async def receive(self) -> Json:
        """The next event, which OpenAI's own type must accept."""
        message = await self._next()
        if message["type"] == "websocket.close":
            raise Closed(message["code"])
        assert len(message["text"].encode()) <= MAX_EVENT_BYTES
        event: Json = json.loads(message["text"])
        self._kinds[event["type"]].model_validate(event)
        self.seen.append(event)
        return event

    async def until(self, kind: str, where: Callable[[Json], bool] = lambda _: True) -> list[Json]:
        """All events up to the first of that kind."""
        events = []
        while True:
            events.append(await self.receive())
            if events[-1]["type"] == kind and where(events[-1]):
                return events

    async def expect(self, kind: str, **fields: Any) -> Json:
        """The next event, which must be of that kind."""
        event = await self.receive()
        assert event["type"] == kind, event
        assert fields.items() <= event.items(), event
        return event

    async def refused(self, kind: str, **fields: Any) -> Json:
        """The error that answers an event."""
        await self.send(kind, event_id="mine", **fields)
        error: Json = (await self.until("error"))[-1]["error"]
        assert error["event_id"] == "mine"
        return error

    async def update(self, **session: Any) -> Json:
        """The session after an update."""
        await self.send("session.update", session={"type": "realtime", **session})
        updated: Json = (await self.until("session.updated"))[-1]["session"]
        return updated

    async def say(self, text: str, **fields: Any) -> str:
        """Type something. The id of its item."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.send("conversation.item.create", item=item, **fields)
        item_id: str = (await self.until("conversation.item.done"))[-1]["item"]["id"]
        return item_id

    async def answer(self, **response: Any) -> list[Json]:
        """Ask for a response. Its events."""
        await self.send("response.create", response=response)
        return await self.until("response.done")

    async def closed(self) -> int:
        """Read until the server closes. The code."""
        try:
            while True:
                await self.receive()
        except Closed as closed:
            return closed.code

    async def leave(self) -> None:
        """Close the socket."""
        await self._to_app.put({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(self.serving, WITHIN_S)


@asynccontextmanager
async def connected(
    app: Any,
    headers: dict[str, str] | None = None,
    subprotocols: tuple[str, ...] = (),
    extensions: tuple[str, ...] = (DENIAL,),
    path: str = "/v1/realtime",
    kinds: Kinds = KINDS,
    **query: str,
) -> AsyncIterator[Client]:
    """A client behind its handshake."""
    raw = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query).encode(),
        "root_path": "",
        "scheme": "ws",
        "headers": raw,
        "subprotocols": list(subprotocols),
        "extensions": {name: {} for name in extensions},
        "client": ("127.0.0.1", 1),
        "server": ("server", 80),
    }
    client = Client(app, scope, kinds)
    try:
        await client.handshake()
        yield client
    finally:
        if not client.serving.done():
            await client.leave()
        client.serving.result()
