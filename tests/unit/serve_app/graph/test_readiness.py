"""What is remembered of whether the graph can serve."""

import asyncio

import pytest

from deployments.errors import NotReady
from serve_app.graph.readiness import Readiness


class Graph:
    """Counts how often it is asked whether it is ready."""

    def __init__(self, is_ready: bool) -> None:
        self.is_ready, self.asked = is_ready, 0

    async def ready(self) -> bool:
        self.asked += 1
        return self.is_ready


async def test_once_ready_requests_do_not_ask_again() -> None:
    graph = Graph(is_ready=True)
    readiness = Readiness(graph.ready, renew_after_s=60)
    for _ in range(5):
        await readiness.require()
    assert graph.asked == 1


async def test_readiness_that_is_lost_is_noticed_after_its_time() -> None:
    graph = Graph(is_ready=True)
    readiness = Readiness(graph.ready, renew_after_s=0)
    await readiness.require()
    graph.is_ready = False
    await readiness.require()  # answered from memory, and asks anew beside
    await asyncio.sleep(0.01)
    with pytest.raises(NotReady):
        await readiness.require()


async def test_a_rehearsal_holds_up_everyone_but_itself() -> None:
    graph = Graph(is_ready=True)
    readiness = Readiness(graph.ready, renew_after_s=60)
    curtain = asyncio.Event()

    async def rehearsal() -> None:
        await readiness.require()
        await curtain.wait()

    readiness.rehearsal = asyncio.create_task(rehearsal())
    held_up = [asyncio.create_task(readiness.ask()), asyncio.create_task(readiness.require())]
    await asyncio.sleep(0.01)
    assert not any(task.done() for task in held_up)
    curtain.set()
    async with asyncio.timeout(1):
        assert await asyncio.gather(*held_up) == [True, None]


async def test_a_rehearsal_without_an_end_holds_up_only_so_long(monkeypatch) -> None:
    monkeypatch.setattr("serve_app.graph.readiness.REHEARSAL_WITHIN_S", 0.02)
    readiness = Readiness(Graph(is_ready=True).ready)
    readiness.rehearsal = asyncio.create_task(asyncio.sleep(60))
    async with asyncio.timeout(1):
        assert await readiness.ask()
    readiness.rehearsal.cancel()
