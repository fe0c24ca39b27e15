"""What stands before Ray Serve's own HTTP code, in each of Serve's processes that listens for HTTP.

Serve adds its own `x-request-id` to every answer, repeats whatever id a client sends, and answers
500 in plain text where a header that it reads is no UTF-8. Only a middleware of its listener can
prevent that. Serve takes one from `middlewares` where RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH
names it. `serve_app.app` sets the variable for the replicas of the ingress, which listen behind
HAProxy. Serve's proxies answer without HAProxy, and with it until it knows the replicas; they take
the variable from Ray's environment, where `step-audio2 serve` puts it.
"""

import re
from collections.abc import Iterable
from functools import partial
from uuid import uuid4

import uvicorn
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = b"x-request-id"
CLIENTS_ID = re.compile(rb"[!-~]{1,128}")  # visible ASCII: it stands in logs
# An event of 15 MiB of sound, OpenAI's limit, in base64 and JSON.
MAX_FRAME_BYTES = 21 << 20
ANSWERS = ("http.response.start", "websocket.accept")

RawHeaders = Iterable[tuple[bytes, bytes]]


def middlewares() -> list[Middleware]:
    """What Ray Serve puts around its own code, as its callback."""
    take_large_frames()
    return [Middleware(Front)]


def take_large_frames() -> None:
    """Have uvicorn take WebSocket messages of `MAX_FRAME_BYTES` in this process.

    Serve starts its servers with uvicorn's default, 16 MiB, and has no option for it. It calls
    this before it starts them.
    """
    if not isinstance(uvicorn.Config, partial):
        uvicorn.Config = partial(uvicorn.Config, ws_max_size=MAX_FRAME_BYTES)  # type: ignore


class Front:
    """Names every request once, and passes on headers that can be read.

    The id is the client's `X-Request-Id` if it is fit to be repeated, else a new one. Whatever
    the inside says, the answer has this one. A header whose value is no UTF-8 is dropped: nothing
    here has a use for it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        request_id = request_id_of(scope["headers"]).encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] in ANSWERS:
                message["headers"] = named(message.get("headers", ()), request_id)
            await send(message)

        readable = ((name, value) for name, value in scope["headers"] if _is_utf8(value))
        scope = {**scope, "headers": named(readable, request_id)}
        await self._app(scope, receive, send_with_id)


def request_id_of(headers: RawHeaders) -> str:
    """The id in `headers`, or a new one where none of them is fit."""
    for name, value in headers:
        if name == REQUEST_ID and CLIENTS_ID.fullmatch(value):
            return value.decode()
    return f"req_{uuid4().hex}"


def named(headers: RawHeaders, request_id: bytes) -> list[tuple[bytes, bytes]]:
    """`headers` with this id and no other."""
    others = [(name, value) for name, value in headers if name.lower() != REQUEST_ID]
    return [*others, (REQUEST_ID, request_id)]


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
