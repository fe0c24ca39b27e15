"""The HTTP application over fake engines."""

from collections.abc import AsyncIterator

import pytest_asyncio

from serve_app.http.settings import HttpSettings
from tests.integration.http.conftest import Graph
from tests.unit.serve_app.http.realtime.client import Client, connected

__all__ = ["Graph", "HttpSettings"]


async def started(seconds_per_delta: float = 0.0, **settings: object) -> Graph:
    graph = Graph(seconds_per_delta, **settings)
    await graph.backend.start()
    return graph


@pytest_asyncio.fixture(scope="module")
async def graph() -> Graph:
    """One for a whole module: to build the application takes most of a test."""
    return await started()


@pytest_asyncio.fixture
async def client(graph: Graph) -> AsyncIterator[Client]:
    """A client that has read `session.created`."""
    async with connected(graph.app) as client:
        await client.expect("session.created")
        yield client
