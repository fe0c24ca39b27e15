"""`/v1/models`, `/health` and the OpenAPI page."""

import httpx
import pytest
from openai import AsyncOpenAI, NotFoundError

from tests.integration.http.helpers import MODEL


async def test_the_models_are_the_configured_names(openai: AsyncOpenAI) -> None:
    assert [model.id for model in (await openai.models.list()).data] == [MODEL]
    assert (await openai.models.retrieve(MODEL)).object == "model"
    with pytest.raises(NotFoundError):
        await openai.models.retrieve("another")


async def test_health_is_ok_once_the_graph_is_ready(raw: httpx.AsyncClient) -> None:
    answer = await raw.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_the_openapi_page_lists_every_endpoint_with_its_errors(
    raw: httpx.AsyncClient,
) -> None:
    assert (await raw.get("/docs")).status_code == 200
    paths = (await raw.get("/openapi.json")).json()["paths"]
    assert paths.keys() == {
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/health",
    }
    assert {"400", "429", "503"} <= paths["/v1/audio/speech"]["post"]["responses"].keys()
