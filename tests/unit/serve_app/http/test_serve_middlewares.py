"""What stands before Ray Serve's own HTTP code."""

import asyncio
from typing import Any

import pytest
import uvicorn

from serve_app.http.serve_middlewares import MAX_FRAME_BYTES, Front, middlewares


def passed(*headers: tuple[bytes, bytes], kind: str = "http", **answer: Any) -> tuple[Any, Any]:
    """What the inside sees of a request's headers, and what the client sees of the answer's."""
    seen: list[Any] = []

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["headers"])
        await send(answer)

    async def send(message: Any) -> None:
        seen.append(message.get("headers"))

    scope = {"type": kind, "headers": list(headers)}
    asyncio.run(Front(inside)(scope, None, send))  # type: ignore[arg-type]
    assert scope["headers"] == list(headers)  # the listener's own log reads it too
    return seen[0], seen[1]


START = {"type": "http.response.start", "status": 200}


def test_an_answer_has_one_id_whatever_the_inside_adds() -> None:
    twice = [(b"X-Request-ID", b"of Serve"), (b"x-request-id", b"of the app"), (b"a", b"b")]
    inside, answered = passed((b"x-request-id", b"mine"), **START, headers=twice)
    assert inside == [(b"x-request-id", b"mine")]
    assert answered == [(b"a", b"b"), (b"x-request-id", b"mine")]


def test_a_request_without_an_id_is_given_one_that_the_inside_sees_too() -> None:
    inside, answered = passed(**START)
    assert inside == answered
    assert answered[0][1].startswith(b"req_")


@pytest.mark.parametrize("name", [b"x-request-id", b"serve_multiplexed_model_id", b"x-other"])
def test_a_header_that_is_no_utf_8_is_not_passed_on(name: bytes) -> None:
    inside, _ = passed((name, b"caf\xe9"), (b"accept", "é".encode()), **START)
    assert [header for header in inside if header[0] != b"x-request-id"] == [
        (b"accept", "é".encode())
    ]
    for _, value in inside:
        value.decode()


def test_a_websocket_is_named_too() -> None:
    _, answered = passed((b"x-request-id", b"mine"), kind="websocket", type="websocket.accept")
    assert answered == [(b"x-request-id", b"mine")]


def test_other_messages_pass_unchanged() -> None:
    _, headers = passed(type="http.response.body", body=b"")
    assert headers is None
    _, headers = passed(kind="lifespan", type="lifespan.startup.complete")
    assert headers is None


def test_uvicorn_takes_the_largest_event_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn, "Config", uvicorn.Config)
    middlewares()
    middlewares()
    assert uvicorn.Config(app=None).ws_max_size == MAX_FRAME_BYTES > 20 << 20


def test_ray_serve_takes_it_as_its_callback() -> None:
    from ray.serve._private.http_util import validate_http_proxy_callback_return

    (front,) = validate_http_proxy_callback_return(middlewares())
    assert front.cls is Front
