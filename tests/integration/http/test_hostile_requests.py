"""Whatever is sent, the answer is not an error of ours, and says in one shape what is wrong."""

import json
import logging
import pickle
import random
from collections.abc import AsyncGenerator

import httpx
import pytest

from deployments.messages import ThinkerDelta, ThinkerRequest
from deployments.thinker.fake import FakeThinkerEngine
from serve_app.http.serve_middlewares import Front
from tests.integration.http.conftest import Graph
from tests.integration.http.hostile import Hostile, fault_of, hostile_request


class Strict(FakeThinkerEngine):
    """Reads the whole prompt, as a tokenizer does, and sends it, as a handle does."""

    def generate(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        for message in request.messages:
            for part in message.parts:
                text = getattr(part, "text", "") + getattr(part, "arguments", "")
                text.encode()
        json.dumps(request.sampling.stop, ensure_ascii=False).encode()
        return super().generate(pickle.loads(pickle.dumps(request)))


SEED = 20_261_130
REQUESTS = 1200


def strict_graph() -> Graph:
    graph = Graph()
    graph.thinker = graph.backend._thinker = Strict()
    return graph


async def wrong_with(client: httpx.AsyncClient, request: Hostile) -> str | None:
    """What is wrong with the answer to `request`, if anything is."""
    answer = await client.request(
        request.method, request.path, content=request.body, headers=request.headers
    )
    return fault_of(request, answer)


async def test_no_request_is_answered_with_an_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    graph = strict_graph()
    await graph.backend.start()
    caplog.set_level(logging.WARNING)
    draw = random.Random(SEED)
    transport = httpx.ASGITransport(Front(graph.app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        for number in range(REQUESTS):
            request = hostile_request(draw)
            wrong = await wrong_with(client, request)
            assert wrong is None, f"request {number}: {wrong}: {request}"
    assert not [record for record in caplog.records if record.exc_info]
    assert graph.idle()
