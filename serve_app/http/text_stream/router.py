"""`WS /v1/audio/speech/stream`: a text is spoken while it is still being written."""

from fastapi import APIRouter, WebSocket

from serve_app.graph.answers import text_only
from serve_app.http.dependencies import ServerDep
from serve_app.http.text_stream.connection import Connection
from serve_app.http.text_stream.session import Session

SUBPROTOCOL = "realtime"  # browsers that bring a key offer it too, and want an answer

router = APIRouter()


@router.websocket("/audio/speech/stream")
async def speak_while_written(socket: WebSocket, server: ServerDep) -> None:
    await server.readiness.require()
    if not await server.backend.voices():
        raise text_only()
    sessions = socket.app.state.sessions  # all open sockets of this process
    with sessions.one_more():
        offered = socket.scope.get("subprotocols", ())
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        connection = Connection(socket, server.settings.text_stream_idle_s)
        session = Session(connection, server, socket.state.allowance, socket.state.request_id)
        await session.run(sessions.drained())
