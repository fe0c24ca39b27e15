"""`/v1/models`, `/health` and the OpenAPI page."""

from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, NotFoundError

from tests.integration.http.conftest import Graph, ScriptedBackend
from tests.integration.http.helpers import MODEL


async def test_the_models_are_the_configured_names(openai: AsyncOpenAI) -> None:
    assert [model.id for model in (await openai.models.list()).data] == [MODEL]
    assert (await openai.models.retrieve(MODEL)).object == "model"
    with pytest.raises(NotFoundError):
        await openai.models.retrieve("another")


async def test_health_is_ok_once_the_graph_is_ready(raw: httpx.AsyncClient) -> None:
    answer = await raw.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


PROBES = ["/health", "/v1/models", "/v1/models/", f"/v1/models/{MODEL}", "/docs", "/openapi.json"]
PROBES += ["/v1", "/v1/", "/v1/audio/voices", "/v1/audio/voices/anna", "/docs/page.js"]


@pytest.mark.parametrize("path", PROBES)
async def test_head_answers_where_get_does(
    raw: httpx.AsyncClient, listening: Any, graph: Graph, path: str
) -> None:
    assert (await raw.get(path)).status_code == 200
    async with listening(graph.app) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await client.get(path)).status_code == 200  # on the same connection


async def test_head_of_what_is_not_there_or_not_ready_has_the_status_of_get(
    scripted_raw: Any,
) -> None:
    backend = ScriptedBackend()
    backend.is_ready = False
    async with scripted_raw(backend) as client:
        for path, status in (("/health", 503), ("/v1/models/another", 404), ("/nowhere", 404)):
            assert (await client.head(path)).status_code == status
            assert (await client.get(path)).status_code == status


async def test_a_slash_behind_models_changes_nothing(raw: httpx.AsyncClient) -> None:
    plain, slashed = [await raw.get(path) for path in ("/v1/models", "/v1/models/")]
    assert plain.json() == slashed.json()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("HEAD", "/v1/audio/speech", {"POST"}),
        ("GET", "/v1/chat/completions", {"POST"}),
        ("PUT", "/health", {"GET", "HEAD"}),
        ("DELETE", "/v1/models", {"GET", "HEAD"}),
        ("OPTIONS", "/v1/audio/voices", {"GET", "HEAD", "POST"}),
        ("TRACE", "/v1/audio/voices/anna", {"GET", "HEAD", "DELETE"}),
        ("POST", "/docs", {"GET", "HEAD"}),
        ("POST", "/docs/assets/swagger-ui.css", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_a_405_that_names_those_there_are(
    raw: httpx.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = await raw.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_the_openapi_page_lists_every_endpoint_with_its_errors(
    raw: httpx.AsyncClient,
) -> None:
    assert (await raw.get("/docs")).status_code == 200
    paths = (await raw.get("/openapi.json")).json()["paths"]
    assert paths.keys() == {
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/audio/voices",
        "/v1/audio/voices/{voice_id}",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/realtime/client_secrets",
        "/v1/realtime/translations/client_secrets",
        "/health",
    }
    assert {"400", "429", "503"} <= paths["/v1/audio/speech"]["post"]["responses"].keys()
