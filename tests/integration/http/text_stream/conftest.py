"""The fake engines that the tests of this room share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.http.conftest import Graph, _listening
from tests.integration.http.text_stream.client import Served


@pytest_asyncio.fixture(scope="module")
async def here() -> AsyncIterator[Served]:
    graph = Graph()
    await graph.backend.start()
    async with _listening(graph.app) as url:
        yield Served(graph, url)
