"""Whose pages may open a WebSocket. The application behind is a socket that greets."""

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from serve_app.http.browsers import cross_origin
from serve_app.http.settings import HttpSettings

HERE = "ws://server:8000/v1/realtime"


async def greets(scope: Scope, receive: Receive, send: Send) -> None:
    socket = WebSocket(scope, receive, send)
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def opens(origin: str | None, *allowed: str) -> bool:
    app = cross_origin(greets, HttpSettings(models=("m",), cors_origins=list(allowed)))
    client = TestClient(app)
    headers = {"origin": origin} if origin is not None else {}
    try:
        with client.websocket_connect(HERE, headers=headers) as socket:
            return socket.receive_text() == "hello"
    except WebSocketDisconnect:
        return False


@pytest.mark.parametrize("origin", [None, "http://server:8000", "https://server:8000"])
def test_a_client_without_an_origin_and_the_servers_own_page_open_one(origin: str | None):
    assert opens(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "http://elsewhere",
        "http://server",
        "http://server:8001",
        "http://server:8000.elsewhere",
        "http://elsewhere/server:8000",
        "null",
        "",
        "server:8000",
    ],
)
def test_a_page_of_another_origin_does_not(origin: str):
    assert not opens(origin)


def test_a_page_of_a_configured_origin_does():
    assert opens("http://elsewhere", "http://elsewhere")
    assert not opens("http://server.elsewhere", "http://elsewhere")
    assert opens("http://anywhere", "*")
