"""Whose request it is, before a router sees it, as plain ASGI."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from uuid import uuid4

from starlette._utils import get_route_path
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from deployments.errors import LimitReached
from deployments.voice_store import EVERYBODY
from serve_app.http.access.client_secrets import ClientSecrets
from serve_app.http.access.credentials import key_of
from serve_app.http.access.key_limits import Allowance, allowances
from serve_app.http.access.keys import ApiKeys, api_keys
from serve_app.http.access.signing_keys import signing_keys
from serve_app.http.errors import ErrorAnswer, error_answer
from serve_app.http.settings import HttpSettings

VOICES = ("/v1/audio/voices", "/v1/audio/voices/")
READING = ("GET", "HEAD", "OPTIONS")
DENIAL = "websocket.http.response"  # ASGI's extension
POLICY_VIOLATION, TRY_AGAIN = 1008, 1013  # close codes
SUBPROTOCOL = "realtime"  # OpenAI's
INSIDE = "step_audio2.from_inside"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use this replica of the ingress, and how much."""

    keys: ApiKeys
    allowances: Mapping[str, Allowance]  # by the key's name; of those that have limits
    open_paths: tuple[str, ...]  # that can be read without a key
    client_secrets: ClientSecrets


def access_of(settings: HttpSettings, replicas: int = 1) -> Access:
    """What the configuration says, for one of `replicas`.

    Raises:
        ConfigError: a key cannot be used, or a limit is no key's.
    """
    keys = api_keys(settings)
    open_paths = VOICES if settings.voices_listed_without_key else ()
    secrets = ClientSecrets(signing_keys(settings))
    return Access(keys, allowances(settings, keys.names, replicas), open_paths, secrets)


class KeyGate:
    """Refuses a request without a right key (401), and one that is over its key's limits (429).

    Sets `request.state.owner` to the key's name, or to EVERYBODY where no key is needed, and
    `request.state.allowance` to what that key may still use, or to None. `GET` and `HEAD` count for
    no limit. The others are answered with OpenAI's headers about the key's requests.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        try:
            allowance = self._allowance(scope)
            send = _saying_what_is_left(send, allowance)
            with _counted(scope, allowance):
                return await self._app(scope, receive, send)
        except (_Unauthorized, LimitReached) as error:
            refused = refusal(error, scope)
        await refused(scope, receive, send)

    def _allowance(self, scope: Scope) -> Allowance | None:
        """What the request counts for, if it counts for anything.

        Raises _Unauthorized.
        """
        owner = self._owner(scope)
        allowance = self._access.allowances.get(owner)
        scope.setdefault("state", {}).update(owner=owner, allowance=allowance)
        return None if _only_reads(scope) else allowance

    def _owner(self, scope: Scope) -> str:
        """Raises _Unauthorized."""
        path = get_route_path(scope)
        if not self._access.keys or is_from_inside(scope) or not path.startswith("/v1"):
            return EVERYBODY
        key = key_of(scope)
        owner = self._access.keys.owner_of(key)
        if owner is None and scope["type"] == "websocket":
            owner = self._owner_of_secret(key)
        if owner is not None:
            return owner
        if path in self._access.open_paths and _only_reads(scope):
            return EVERYBODY
        raise _Unauthorized

    def _owner_of_secret(self, key: bytes) -> str | None:
        """Whose client secret it is, unless that API key was removed since."""
        secret = self._access.client_secrets.read(key.decode("latin-1"))
        return secret.owner if secret and secret.owner in self._access.keys.names else None


class _Unauthorized(HTTPException):
    def __init__(self) -> None:
        super().__init__(401, "the API key is missing or wrong", {"WWW-Authenticate": "Bearer"})


def _saying_what_is_left(send: Send, allowance: Allowance | None) -> Send:
    """`send` of an answer whose headers say what is left of its key's requests."""
    if allowance is None:
        return send

    async def send_with_rate(message: Message) -> None:
        if message["type"] == "http.response.start" and (left := allowance.requests_left()):
            MutableHeaders(scope=message).update(left.headers())
        await send(message)

    return send_with_rate


def _counted(scope: Scope, allowance: Allowance | None) -> AbstractContextManager[None]:
    """What a request counts for while it lasts. A WebSocket's answers count one by one."""
    if allowance is None:
        return nullcontext()
    return allowance.session() if scope["type"] == "websocket" else allowance.stream()


def _only_reads(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in READING


def refusal(error: Exception, scope: Scope) -> ASGIApp:
    """What answers `error`.

    A WebSocket gets the same answer, where the server can give one in place of the handshake. Where
    it cannot, the socket is opened for an event `error`, and closed.
    """
    told = error_answer(error)
    if scope["type"] == "websocket" and DENIAL not in scope.get("extensions", {}):
        return _OpenedToRefuse(told)
    return JSONResponse(told.body, told.status, told.headers)


class _OpenedToRefuse:
    """A WebSocket whose only event says why it is closed."""

    def __init__(self, told: ErrorAnswer) -> None:
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        offered = scope.get("subprotocols", ())
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        event = {"type": "error", "event_id": f"event_{uuid4().hex[:21]}", **self._told.body}
        await socket.send_text(json.dumps(event, ensure_ascii=False))
        again = self._told.status in (429, 503)
        await socket.close(TRY_AGAIN if again else POLICY_VIOLATION)


def from_inside(app: ASGIApp) -> ASGIApp:
    """`app` as the server itself calls it: without a key and without limits.

    No request that comes over a network can set what it sets.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, INSIDE: True}, receive, send)

    return call


def is_from_inside(scope: Scope) -> bool:
    """Whether the server itself calls."""
    return INSIDE in scope
