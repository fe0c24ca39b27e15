"""`WS /v1/realtime/translations`, and the tokens that open it from a browser."""

from contextlib import ExitStack
from typing import Any

from fastapi import APIRouter, Depends, Request, WebSocket

from serve_app.http.body_checks import CheckedRoute
from serve_app.http.dependencies import Server, ServerDep, require_json
from serve_app.http.documented import OF_BODIES, error_answers
from serve_app.http.realtime.client_secrets import (
    ClientSecret,
    ClientSecretBody,
    secret_of,
    settings_of_secret,
)
from serve_app.http.realtime.connection import Connection, deny
from serve_app.http.realtime.ids import new_id
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.realtime_translation.translation_session import TranslationSession
from serve_app.http.realtime_translation.translation_settings import TranslationSettings

socket = APIRouter()
router = APIRouter(
    tags=["realtime"], dependencies=[Depends(require_json)], route_class=CheckedRoute
)


@socket.websocket("/realtime/translations")
async def interpret(websocket: WebSocket, server: ServerDep) -> None:
    sessions: Sessions = websocket.app.state.sessions
    with ExitStack() as stack:
        try:
            await server.readiness.require()
            model = websocket.query_params.get("model") or server.settings.models[0]
            server.require_model(model)
            stack.enter_context(sessions.one_more())
        except Exception as error:
            await deny(websocket, error)
            return
        connection = Connection(websocket, server.settings.realtime, sessions)
        session = TranslationSession(
            server,
            websocket.state.allowance,
            model,
            websocket.state.request_id,
            connection.fail,
        )
        await connection.accept()
        await connection.run(session, settings_of_secret(websocket))


@router.post(
    "/realtime/translations/client_secrets",
    summary="A token that opens an interpreter's session",
    responses=error_answers(*OF_BODIES, 404),
)
async def create_translation_secret(
    body: ClientSecretBody, request: Request, server: ServerDep
) -> ClientSecret:
    given = {"type": "translation", **(body.session or {})}
    return secret_of(body, request, server, given, await _told(server, given))


async def _told(server: Server, given: dict[str, Any]) -> dict[str, Any]:
    """The session that the token begins, as it would be shown; refuses one that cannot be."""
    name = given.get("model")
    model = name if isinstance(name, str) else server.settings.models[0]
    settings = TranslationSettings(server, new_id("sess"), model)
    await settings.open()
    await settings.update(given)
    return settings.told()
