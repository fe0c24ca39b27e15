"""Headers through HAProxy and Ray Serve to the application and back, on a real Ray."""

import asyncio

import httpx
import pytest

from tests.integration.graph.conftest import MODEL, fake_graph, served, speech_body


@pytest.fixture(scope="module")
def address(base_url):
    with served(fake_graph()):
        yield base_url


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
