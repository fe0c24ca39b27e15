"""Headers through HAProxy and Ray Serve to the application and back, on a real Ray."""

import asyncio
import random
from pathlib import Path

import httpx
import pytest
from ray import serve
from ray.serve._private.logging_utils import get_serve_logs_dir

from serve_app.app import app
from tests.integration.graph.conftest import MODEL, fake_graph, served, speech_body
from tests.integration.http.hostile import hostile_request
from tests.integration.http.test_hostile_requests import wrong_with

KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"}


@pytest.fixture(scope="module")
def served_at(base_url):
    with served(fake_graph()) as application:
        yield base_url, application


@pytest.fixture
def address(served_at):
    return served_at[0]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/models", None, 200),
        ("GET", "/health", None, 200),
        ("GET", "/nowhere", None, 404),
        ("POST", "/v1/audio/speech", speech_body("hello"), 200),
        ("POST", "/v1/audio/speech", speech_body("hello") | {"stream_format": "sse"}, 200),
        ("POST", "/v1/audio/speech", {"model": MODEL}, 400),
        ("DELETE", "/v1/models", None, 405),
        ("HEAD", "/health", None, 200),
        ("HEAD", "/v1/models", None, 200),
        ("GET", "/v1/models/", None, 200),
    ],
)
async def test_every_answer_names_one_request_id(address, method, path, body, status):
    async with httpx.AsyncClient(base_url=address) as plain:
        answer = await plain.request(method, path, json=body)
        own = await plain.request(method, path, json=body, headers={"X-Request-Id": "mine-1"})
    assert (answer.status_code, own.status_code) == (status, status)
    (given,) = answer.headers.get_list("x-request-id")
    assert given.startswith("req_")
    assert own.headers.get_list("x-request-id") == ["mine-1"]


@pytest.mark.parametrize(
    "header",
    [
        b"X-Request-Id: caf\xe9",
        b"serve_multiplexed_model_id: caf\xe9",
        b"x-session-id: \xff\xfe",
        b"x-request-timeout-seconds: \xe9",
        b"traceparent: \xe9",
        b"X-Other: caf\xe9",
        b"Authorization: Bearer caf\xe9",
        b"User-Agent: \x80",
    ],
)
async def test_any_byte_that_a_header_may_hold_is_taken(address, header):
    host, port = httpx.URL(address).host, httpx.URL(address).port
    reader, writer = await asyncio.open_connection(host, port)
    request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header
    writer.write(request + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer
    assert head.lower().count(b"\r\nx-request-id:") == 1
    assert MODEL.encode() in body


async def test_no_hostile_request_is_an_error_of_ours_or_leaves_a_traceback(served_at):
    address, application = served_at
    draw = random.Random(7)
    answered = 0
    async with httpx.AsyncClient(base_url=address, timeout=30) as plain:
        for _ in range(300):
            request = hostile_request(draw)
            if request.method not in KNOWN_METHODS:  # uvicorn refuses others, in plain text
                continue
            try:
                wrong = await wrong_with(plain, request)
            except (httpx.LocalProtocolError, httpx.InvalidURL):  # the client does not send it
                continue
            assert wrong is None, f"{wrong}: {request}"
            answered += 1
        unknown = await plain.post("/v1/audio/speech", json=speech_body("a") | {"voice": "nobody"})
    assert unknown.status_code == 400
    assert answered > 200
    logs = [*Path(get_serve_logs_dir()).glob(f"replica_{application}_*.log")]
    assert len(logs) == 3
    for log in logs:
        assert "Traceback" not in log.read_text()


async def test_a_second_ingress_of_serves_own_making_needs_a_common_key(base_url):
    graph = app(fake_graph())
    graph._bound_deployment = graph._bound_deployment.options(
        num_replicas=2, max_constructor_retry_count=1
    )
    with pytest.raises(RuntimeError):
        serve.run(graph, name="two", route_prefix="/two")
    serve.delete("two")
    logs = Path(get_serve_logs_dir()).glob("replica_two_Ingress_*.log")
    said = "".join(log.read_text() for log in logs)
    assert "ConfigError: 2 replicas of the ingress need a common key" in said
