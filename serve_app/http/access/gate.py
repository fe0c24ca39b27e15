"""Whose request it is, before a router sees it, as plain ASGI."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from deployments.errors import LimitReached
from deployments.voice_store import EVERYBODY
from serve_app.http.access.key_limits import Allowance, allowances
from serve_app.http.access.keys import ApiKeys, api_keys
from serve_app.http.errors import error_answer
from serve_app.http.settings import HttpSettings

VOICES = ("/v1/audio/voices", "/v1/audio/voices/")
READING = ("GET", "HEAD", "OPTIONS")
DENIAL = "websocket.http.response"  # ASGI's extension
POLICY_VIOLATION = 1008
INSIDE = "step_audio2.from_inside"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use this replica of the ingress, and how much."""

    keys: ApiKeys
    allowances: Mapping[str, Allowance]  # by the key's name; of those that have limits
    open_paths: tuple[str, ...]  # that can be read without a key


def access_of(settings: HttpSettings, replicas: int = 1) -> Access:
    """What the configuration says, for one of `replicas`.

    Raises:
        ConfigError: a key cannot be used, or a limit is no key's.
    """
    keys = api_keys(settings)
    open_paths = VOICES if settings.voices_listed_without_key else ()
    return Access(keys, allowances(settings, keys.names, replicas), open_paths)


class KeyGate:
    """Refuses a request without a right key (401), and one that is over its key's limits (429).

    Sets `request.state.owner` to the key's name, or to EVERYBODY where no key is needed, and
    `request.state.allowance` to what that key may still use, or to None. `GET` and `HEAD` count for
    no limit.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        try:
            with self._admitted(scope):
                return await self._app(scope, receive, send)
        except (_Unauthorized, LimitReached) as error:
            refusal = _refusal(error, scope)
        await refusal(scope, receive, send)

    def _admitted(self, scope: Scope) -> AbstractContextManager[None]:
        owner = self._owner(scope)
        allowance = self._access.allowances.get(owner)
        scope.setdefault("state", {}).update(owner=owner, allowance=allowance)
        if allowance is None or _only_reads(scope):
            return nullcontext()
        return allowance.stream()

    def _owner(self, scope: Scope) -> str:
        """Raises _Unauthorized."""
        path = get_route_path(scope)
        if not self._access.keys or INSIDE in scope or not path.startswith("/v1"):
            return EVERYBODY
        owner = self._access.keys.owner_of(_bearer(scope))
        if owner is not None:
            return owner
        if path in self._access.open_paths and _only_reads(scope):
            return EVERYBODY
        raise _Unauthorized


class _Unauthorized(HTTPException):
    def __init__(self) -> None:
        super().__init__(401, "the API key is missing or wrong", {"WWW-Authenticate": "Bearer"})


def _only_reads(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in READING


def _refusal(error: Exception, scope: Scope) -> ASGIApp:
    """A WebSocket gets the same answer, where the server can give one in place of the handshake."""
    if scope["type"] == "websocket" and DENIAL not in scope.get("extensions", {}):
        return WebSocketClose(code=POLICY_VIOLATION)
    told = error_answer(error)
    return JSONResponse(told.body, told.status, told.headers)


def _bearer(scope: Scope) -> bytes:
    """The very bytes of the token; none where there is no token."""
    scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
    return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b""


def from_inside(app: ASGIApp) -> ASGIApp:
    """`app` as the server itself calls it: without a key and without limits.

    No request that comes over a network can set what it sets.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, INSIDE: True}, receive, send)

    return call
