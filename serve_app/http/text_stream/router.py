"""`WS /v1/audio/speech/stream`: a text is spoken while it is still being written."""

from fastapi import APIRouter, WebSocket

from serve_app.graph.answers import text_only
from serve_app.http.dependencies import Server
from serve_app.http.front import request_id_of
from serve_app.http.text_stream.connection import Connection
from serve_app.http.text_stream.session import Session

router = APIRouter()


@router.websocket("/audio/speech/stream")
async def speak_while_written(socket: WebSocket) -> None:
    server: Server = socket.app.state.server
    allowance = socket.state.allowance
    server = server.for_caller(socket.state.owner, allowance)
    await server.readiness.require()
    if not await server.backend.voices():
        raise text_only()
    await socket.accept()
    connection = Connection(socket, server.settings.text_stream_idle_s)
    await Session(connection, server, allowance, request_id_of(socket.scope["headers"])).run()
