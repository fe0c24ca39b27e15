"""What browsers are told: whose pages may call, and what our own pages may load."""

import re
from typing import Any

import httpx
import pytest

from serve_app.http.serve_middlewares import Front
from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import MODEL

ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = ORIGIN | {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}
SPEECH = {"model": MODEL, "input": "Hi", "response_format": "pcm"}
ALLOWED = "access-control-allow-origin"


async def client_of(**settings: Any) -> httpx.AsyncClient:
    graph = Graph(**settings)
    await graph.backend.start()
    transport = httpx.ASGITransport(Front(graph.app), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://server")


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/models", "/v1/nothing", "/docs"])
async def test_a_preflight_gets_a_plain_answer_without_the_headers_unless_configured(
    path: str,
) -> None:
    async with await client_of(api_keys=["secret"]) as client:
        answer = await client.options(path, headers=PREFLIGHT)
        assert (answer.status_code, answer.content) == (204, b"")
        others = [await client.get("/health", headers=ORIGIN)]
        others.append(await client.post("/v1/audio/speech", json=SPEECH, headers=ORIGIN))
    for each in (answer, *others):
        assert not [name for name in each.headers if name.startswith("access-control")]


async def test_a_configured_origin_may_send_what_openai_s_client_sends_and_no_other_may() -> None:
    async with await client_of(api_keys=["secret"], cors_origins=["https://app.example"]) as client:
        allowed = await client.options("/v1/audio/speech", headers=PREFLIGHT)
        other = {**PREFLIGHT, "Origin": "https://evil.example"}
        refused = await client.options("/v1/audio/speech", headers=other)
    assert allowed.status_code == 200
    assert allowed.headers[ALLOWED] == "https://app.example"
    assert "x-stainless-os" in allowed.headers["access-control-allow-headers"]
    assert {"POST", "DELETE"} <= set(allowed.headers["access-control-allow-methods"].split(", "))
    assert refused.status_code == 400 and ALLOWED not in refused.headers


async def test_errors_and_streams_can_be_read_by_a_configured_origin(scripted_raw: Any) -> None:
    async with await client_of(cors_origins=["*"], max_upload_bytes=1000) as client:
        answers = [
            await client.post("/v1/audio/speech", json=SPEECH, headers=ORIGIN),
            await client.post("/v1/audio/speech", json={"model": "no"}, headers=ORIGIN),
            await client.post("/v1/audio/speech", content=bytes(2000), headers=ORIGIN),
            await client.get("/v1/nothing", headers=ORIGIN),
        ]
    assert [answer.status_code for answer in answers] == [200, 400, 413, 404]
    async with await client_of(cors_origins=["*"], api_keys=["secret"]) as client:
        answers.append(await client.get("/v1/models", headers=ORIGIN))
    assert answers[-1].status_code == 401
    async with scripted_raw(ScriptedBackend(KeyError("x")), cors_origins=["*"]) as client:
        answers.append(await client.post("/v1/audio/speech", json=SPEECH, headers=ORIGIN))
    assert answers[-1].status_code == 500
    for answer in answers:
        assert answer.headers[ALLOWED] == "*"
        assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin", ["example.org", "https://example.org/", "https://example.org/page", ""]
)
def test_what_is_no_origin_is_refused_at_start(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin such as"):
        Graph(cors_origins=[origin])


async def test_the_interactive_page_loads_everything_from_this_server(
    raw: httpx.AsyncClient,
) -> None:
    page = await raw.get("/docs")
    assert page.status_code == 200
    assert "//" not in page.text.replace("<!DOCTYPE html>", "")
    assert not re.search(r"<script(?![^>]* src=)|\son\w+=|<style|style=", page.text)
    loaded = re.findall(r'(?:src|href)="([^":]+)"', page.text)
    assert len(loaded) == 3
    for path in loaded:
        answer = await raw.get(str(page.url.join(path)))
        assert answer.status_code == 200 and len(answer.content) > 50
        assert answer.headers["content-type"].partition(";")[0] in ("text/css", "text/javascript")
        assert answer.headers["x-content-type-options"] == "nosniff"
    script = (await raw.get("/docs/page.js")).text
    (document,) = re.findall(r'url: "([^"]+)"', script)
    assert (await raw.get(str(page.url.join(document)))).json()["openapi"].startswith("3.1")
    assert "validatorUrl: null" in script  # else the document would be shown to another host


async def test_a_page_of_ours_may_load_and_send_nothing_elsewhere(raw: httpx.AsyncClient) -> None:
    headers = (await raw.get("/docs")).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    assert not re.search(r"https?:|\*", headers["content-security-policy"])
    assert "script-src" not in policy  # default-src holds: no inline scripts
    assert headers["permissions-policy"].startswith("microphone=(self)")
    assert "content-security-policy" not in (await raw.get("/v1/models")).headers


async def test_the_interactive_page_has_a_field_for_the_key(raw: httpx.AsyncClient) -> None:
    document = (await raw.get("/openapi.json")).json()
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert document["paths"]["/v1/audio/speech"]["post"]["security"]
    assert "security" not in document["paths"]["/health"]["get"]
