"""`WS /v1/realtime`: the handshake, and the session behind it."""

from contextlib import ExitStack

from fastapi import APIRouter, WebSocket

from serve_app.http.dependencies import Server, ServerDep
from serve_app.http.realtime.client_secrets import settings_of_secret
from serve_app.http.realtime.connection import Connection, deny
from serve_app.http.realtime.open_sessions import Sessions
from serve_app.http.realtime.session import Session
from serve_app.http.realtime.session_settings import Kind

socket = APIRouter()


@socket.websocket("/realtime")
async def realtime(websocket: WebSocket, server: ServerDep) -> None:
    sessions: Sessions = websocket.app.state.sessions
    with ExitStack() as stack:
        try:
            await _require_ready(server, _kind(websocket))
            model = _model(websocket, server)
            stack.enter_context(sessions.one_more())
        except Exception as error:
            await deny(websocket, error)
            return
        await _serve(websocket, server, sessions, model)


async def _serve(websocket: WebSocket, server: Server, sessions: Sessions, model: str) -> None:
    connection = Connection(websocket, server.settings.realtime, sessions)
    session = Session(
        server,
        websocket.state.allowance,
        websocket.app.state.turn_models,
        sessions,
        _kind(websocket),
        model,
        websocket.state.request_id,
        connection.fail,
    )
    await connection.accept()
    await connection.run(session, settings_of_secret(websocket))


def _kind(websocket: WebSocket) -> Kind:
    asked = websocket.query_params.get("intent")
    given = settings_of_secret(websocket).get("type")
    return "transcription" if "transcription" in (asked, given) else "realtime"


async def _require_ready(server: Server, kind: Kind) -> None:
    """Answer 503 until the graph can serve such a session."""
    writes_only = kind == "transcription"
    await (server.text_readiness if writes_only else server.readiness).require()


def _model(websocket: WebSocket, server: Server) -> str:
    name = websocket.query_params.get("model") or server.settings.models[0]
    server.require_model(name)
    return name
