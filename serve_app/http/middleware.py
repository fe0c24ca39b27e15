"""What happens to every request before a router sees it, as plain ASGI.

(Starlette's BaseHTTPMiddleware would stand between a stream and its client's disconnect.)
"""

import asyncio
import logging

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.replica_logs import request_logged
from serve_app.http.errors import error_answer
from serve_app.http.serve_middlewares import request_id_of
from serve_app.http.settings import HttpSettings

HEALTH = "/health"
RECORDINGS = ("/v1/audio/transcriptions", "/v1/audio/translations")  # may be long
MIN_BYTES_PER_S = 1000.0  # of a long upload: speech in Opus takes twice as many as it is spoken
logger = logging.getLogger(__name__)


class RequestId:
    """Sets `request.state.request_id`: the id that the answer bears, by which logs name it.

    Its header is set in front of the application (`serve_middlewares.py`), or by Ray Serve.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        request_id = request_id_of(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        await self._app(scope, receive, send)


class RequestLog:
    """Logs each request, behind what names it and its trace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # a probe asks for the health every few seconds
        if scope["type"] not in ("http", "websocket") or scope["path"] == HEALTH:
            return await self._app(scope, receive, send)
        what = f"{scope.get('method', 'WEBSOCKET')} {scope['path']!a}"
        state = scope["state"]
        with request_logged(logger, state["request_id"], what, state["trace"]):
            await self._app(scope, receive, send)


class BodyLimits:
    """Refuses a body that is too large (413) or comes too slowly (408), while it is read."""

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._most_bytes = settings.max_upload_bytes
        self._most_bytes_of_recordings = settings.max_recording_bytes
        self._timeout_s = settings.upload_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._limit(scope)
        if _declared(scope) > limit:
            told = error_answer(_too_large(limit))
            response = JSONResponse(told.body, told.status, told.headers)
            return await response(scope, receive, send)
        await self._app(scope, self._limited(receive, limit), send)

    def _limit(self, scope: Scope) -> int:
        """The largest body in bytes."""
        if get_route_path(scope) in RECORDINGS:
            return self._most_bytes_of_recordings
        return self._most_bytes

    def _limited(self, receive: Receive, limit: int) -> Receive:
        """`receive` of one request of at most `limit` bytes, until its body is complete."""
        received, complete, began_s = 0, False, None

        async def receive_within_limits() -> Message:
            nonlocal received, complete, began_s
            if complete:  # what comes now is that the client leaves
                return await receive()
            loop = asyncio.get_running_loop()
            began_s = loop.time() if began_s is None else began_s
            allowed_s = self._timeout_s + received / MIN_BYTES_PER_S
            try:
                async with asyncio.timeout_at(began_s + allowed_s) as timeout:
                    message = await receive()
            except TimeoutError:
                if timeout.expired():
                    raise _too_slow(received, allowed_s) from None
                raise
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > limit:
                raise _too_large(limit)
            return message

        return receive_within_limits


def _declared(scope: Scope) -> int:
    """The bytes of the body as its header says; 0 where it does not."""
    length = Headers(scope=scope).get("content-length", "")
    return int(length[:20]) if length.isdecimal() else 0


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the request is larger than {limit} bytes")


def _too_slow(received: int, allowed_s: float) -> HTTPException:
    message = f"only {received} bytes of the request came in {allowed_s:.0f} s"
    return HTTPException(408, message, {"Connection": "close"})  # its rest may never come
