"""What happens to every request before a router sees it, as plain ASGI.

(Starlette's BaseHTTPMiddleware would stand between a stream and its client's disconnect.)
"""

import hmac
import logging

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.replica_logs import request_logged
from serve_app.http.errors import error_answer
from serve_app.http.front import request_id_of
from serve_app.http.settings import HttpSettings

HEALTH = "/health"
VOICES = ("/v1/audio/voices", "/v1/audio/voices/")
RECORDINGS = ("/v1/audio/transcriptions", "/v1/audio/translations")  # may be long
logger = logging.getLogger(__name__)


class RequestId:
    """Sets `request.state.request_id`: the id that the answer bears, by which logs name it.

    Its header is set in front of the application (`front.py`), or by Ray Serve.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = request_id_of(scope["headers"])
        scope.setdefault("state", {})["request_id"] = request_id
        if scope["path"] == HEALTH:  # a probe asks every few seconds
            return await self._app(scope, receive, send)
        with request_logged(logger, request_id, f"{scope['method']} {scope['path']!a}"):
            await self._app(scope, receive, send)


class Gate:
    """Refuses what is not to be read at all: a wrong key (401), a body that is too large (413)."""

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._keys = [key.get_secret_value().encode() for key in settings.api_keys]
        self._open_paths = VOICES if settings.voices_listed_without_key else ()
        self._most_bytes = settings.max_upload_bytes
        self._most_bytes_of_recordings = settings.max_recording_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        refusal = self._refusal(scope)
        if refusal is not None:
            answer = error_answer(refusal)
            response = JSONResponse(answer.body, answer.status, answer.headers)
            return await response(scope, receive, send)

        received, limit = 0, self._limit(scope)

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit)
            return message

        await self._app(scope, receive_within_limit, send)

    def _refusal(self, scope: Scope) -> HTTPException | None:
        headers = Headers(scope=scope)
        if self._needs_key(scope) and not self._knows(headers):
            return HTTPException(
                401, "the API key is missing or wrong", {"WWW-Authenticate": "Bearer"}
            )
        length, limit = headers.get("content-length", ""), self._limit(scope)
        if length.isdecimal() and int(length[:20]) > limit:
            return _too_large(limit)
        return None

    def _needs_key(self, scope: Scope) -> bool:
        path = get_route_path(scope)
        is_open = scope["method"] in ("GET", "HEAD") and path in self._open_paths
        return bool(self._keys) and path.startswith("/v1/") and not is_open

    def _limit(self, scope: Scope) -> int:
        """The largest body in bytes."""
        if get_route_path(scope) in RECORDINGS:
            return self._most_bytes_of_recordings
        return self._most_bytes

    def _knows(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        sent = token.strip().encode("latin-1")  # the very bytes
        return any(hmac.compare_digest(sent, key) for key in self._keys)


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the request is larger than {limit} bytes")
