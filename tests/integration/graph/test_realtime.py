"""Realtime sessions through Ray Serve: behind HAProxy, and behind Serve's own proxy."""

import asyncio
import base64
import json
import os
import time
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import ray
from ray import serve
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from serve_app.http.realtime.session_ends import RESTART
from tests.integration.graph.conftest import fake_graph, replica_record, requests_in_thinker, served

KEY = "a-key-in-the-clear"
MOST_SESSIONS = 3
LONG_TEXT = "a text that takes a while to be spoken, for it has so many words in it. " * 3
FALLBACK = "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"  # Serve's own proxy listens there, behind HAProxy
Json = dict[str, Any]


def graph_of_slow_answers() -> Any:
    config = fake_graph(
        thinker={"engine_kwargs": {"seconds_per_delta": 0.1}},
        http={"api_keys": {"anna": KEY}, "realtime": {"max_sessions": MOST_SESSIONS}},
    )
    options = {**config.ingress_deployment_config, "graceful_shutdown_timeout_s": 60}
    return config.model_copy(update={"ingress_deployment_config": options})


@pytest.fixture(scope="module")
def application(base_url):
    with served(graph_of_slow_answers()) as name:
        yield name


@pytest.fixture(params=["haproxy", "serves_own_proxy"])
def address(request, base_url, application):
    if request.param == "haproxy":
        return base_url.replace("http:", "ws:")
    return f"ws://127.0.0.1:{os.environ[FALLBACK]}"


def opening(address: str, key: str = KEY, **how: Any) -> connect:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{address}/v1/realtime"
    return connect(url, additional_headers=headers, max_size=1 << 20, **how)


@asynccontextmanager
async def session(address: str, **how: Any):
    """An open session; those of the test before may end a moment later than it does."""
    async with asyncio.timeout(10):
        while True:
            with suppress(InvalidStatus):
                socket = await opening(address, **how)
                break
            await asyncio.sleep(0.05)
    async with socket:
        yield socket


async def until(socket: ClientConnection, kind: str) -> Json:
    while (event := json.loads(await asyncio.wait_for(socket.recv(), 30)))["type"] != kind:
        assert event["type"] != "error", event
    return event


async def send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


async def begin_answer(socket: ClientConnection, text: str = LONG_TEXT) -> None:
    content = [{"type": "input_text", "text": text}]
    item = {"type": "message", "role": "user", "content": content}
    await send(socket, "conversation.item.create", item=item)
    await send(socket, "response.create")


async def streams_in_token2wav(application: str) -> int:
    replica = ray.get_actor(replica_record("Token2Wav", application)["Name"], namespace="serve")
    return await replica.__ray_call__.remote(
        lambda actor: actor._replica_impl._user_callable_wrapper._callable._synthesizer.open_streams
    )


async def work(application: str) -> int:
    """What both stages hold of requests."""
    return await requests_in_thinker(application) + await streams_in_token2wav(application)


async def free_within(application: str, seconds: float) -> bool:
    ends_at = time.monotonic() + seconds
    while await work(application):
        if time.monotonic() > ends_at:
            return False
        await asyncio.sleep(0.02)
    return True


async def refused(connecting: connect) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as error:
        async with connecting:
            pass
    return error.value


async def test_the_subprotocol_is_answered_when_it_is_offered(address):
    async with session(address, subprotocols=["realtime", "other"]) as socket:
        assert socket.subprotocol == "realtime"
        assert (await until(socket, "session.created"))["session"]["type"] == "realtime"
    async with session(address) as socket:
        assert socket.subprotocol is None
        await until(socket, "session.created")


async def test_a_wrong_key_is_a_401_in_place_of_the_handshake(address):
    error = await refused(opening(address, key="wrong"))
    assert error.response.status_code == 401
    assert json.loads(error.response.body)["error"]["code"] == "invalid_api_key"


async def test_one_session_too_many_is_a_429_in_place_of_the_handshake(address):
    async with session(address), session(address), session(address):
        error = await refused(opening(address))
    assert error.response.status_code == 429


async def test_a_client_that_leaves_frees_both_stages(address, application):
    async with session(address) as socket:
        await begin_answer(socket)
        await until(socket, "response.output_audio.delta")
        assert await work(application) == 2
    assert await free_within(application, 2)


async def test_a_connection_that_breaks_frees_both_stages(address, application):
    async with session(address) as socket:
        await begin_answer(socket)
        await until(socket, "response.output_audio.delta")
        socket.transport.abort()
    assert await free_within(application, 2)


async def test_a_response_that_is_cancelled_frees_both_stages_and_ends(address, application):
    async with session(address) as socket:
        await begin_answer(socket)
        await until(socket, "response.output_audio.delta")
        await send(socket, "response.cancel")
        done = await until(socket, "response.done")
        assert done["response"]["status"] == "cancelled"
        assert await free_within(application, 2)


async def test_the_largest_event_is_taken(address):
    sound = base64.b64encode(bytes(15 << 20)).decode()
    detection = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    async with session(address) as socket:
        await send(socket, "session.update", session=detection)
        await send(socket, "input_audio_buffer.append", audio=sound)
        await send(socket, "input_audio_buffer.commit")
        await until(socket, "input_audio_buffer.committed")


async def test_a_replica_that_stops_ends_its_sessions_by_1012(base_url, application):
    """The last test: it ends the application."""
    own_proxy = f"ws://127.0.0.1:{os.environ[FALLBACK]}"
    async with session(own_proxy) as first, session(base_url.replace("http:", "ws:")) as second:
        await until(first, "session.created")
        await until(second, "session.created")
        began_s = time.monotonic()
        serve.delete(application, _blocking=False)
        for socket in (first, second):
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await socket.recv()
            assert closed.value.rcvd.code == RESTART
        assert time.monotonic() - began_s < 30  # Serve would have waited for a minute
