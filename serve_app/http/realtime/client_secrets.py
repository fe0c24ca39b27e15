"""`POST /v1/realtime/client_secrets`: a token that a browser may hold."""

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, WebSocket
from pydantic import Field

from serve_app.http.access.client_secrets import ClientSecrets, Secret
from serve_app.http.access.credentials import key_of
from serve_app.http.body_checks import CheckedRoute
from serve_app.http.dependencies import Server, ServerDep, require_json
from serve_app.http.documented import OF_BODIES, error_answers
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.refusals import Refused
from serve_app.http.realtime.session_settings import SessionSettings
from serve_app.http.types import ApiAnswer, JsonObject, WholeNumber

MIN_S, MAX_S, DEFAULT_S = 10, 7200, 600  # OpenAI's

router = APIRouter(
    tags=["realtime"], dependencies=[Depends(require_json)], route_class=CheckedRoute
)


class ExpiresAfter(JsonObject):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[WholeNumber, Field(ge=MIN_S, le=MAX_S)] = DEFAULT_S


class ClientSecretBody(JsonObject):
    """`POST /v1/realtime/client_secrets`."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None


class ClientSecret(ApiAnswer):
    value: str
    expires_at: int
    session: dict[str, Any]


@router.post(
    "/realtime/client_secrets",
    summary="A token that opens a realtime session",
    responses=error_answers(*OF_BODIES, 404),
)
async def create_client_secret(
    body: ClientSecretBody, request: Request, server: ServerDep
) -> ClientSecret:
    given = body.session or {}
    return secret_of(body, request, server, given, await _told(server, given))


def secret_of(
    body: ClientSecretBody,
    request: Request,
    server: Server,
    given: dict[str, Any],
    told: dict[str, Any],
) -> ClientSecret:
    """A token that opens a session with the settings `given`, which is shown as `told`."""
    expires_at = int(time.time()) + (body.expires_after or ExpiresAfter()).seconds
    secrets: ClientSecrets = request.app.state.client_secrets
    value = secrets.make(Secret(server.owner, expires_at, given))
    return ClientSecret(value=value, expires_at=expires_at, session=told)


def settings_of_secret(websocket: WebSocket) -> dict[str, Any]:
    """How a session begins that a client secret opens; empty where it was an API key."""
    secrets: ClientSecrets = websocket.app.state.client_secrets
    secret = secrets.read(key_of(websocket.scope).decode("latin-1"))
    return secret.session if secret else {}


async def _told(server: Server, given: dict[str, Any]) -> dict[str, Any]:
    """The session that the token begins, as it would be shown; refuses one that cannot be."""
    kind = given.get("type", "realtime")
    if kind not in ("realtime", "transcription"):
        raise Refused("invalid_value", f"there is no session of type {kind!r}", "session.type")
    settings = SessionSettings(server, new_id("sess"), kind, _model(server, given))
    await settings.open()
    await settings.update(given)
    return settings.told()


def _model(server: Server, given: dict[str, Any]) -> str:
    name = given.get("model")
    return name if isinstance(name, str) else server.settings.models[0]
