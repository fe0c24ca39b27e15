"""A wait that is interrupted goes on later, and everything else is as if nobody had looked."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

import pytest
import uvloop

from deployments.liveness.interruptible import Interruptible
from deployments.resume import is_cancelled
from tests.unit.deployments.resume.virtual_loop import VirtualLoop

Run = Callable[[Coroutine[Any, Any, Any]], Any]
ENDS = StopAsyncIteration


@pytest.fixture(params=[asyncio.run, uvloop.run, lambda wait: VirtualLoop().run(wait)])
def run(request: pytest.FixtureRequest) -> Run:
    """The loops of tests, of Ray Serve, and of the schedules of faults."""
    return request.param


class Quiet(Interruptible[Any]):
    """Gives None where it is interrupted."""

    def meanwhile(self) -> None:
        return None


class Source:
    """Gives what is put into it, by waits of every kind."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.ended_by: list[tuple[type, bool]] = []  # what it met, and whether its task was asked

    async def items(self) -> AsyncGenerator[Any]:
        try:
            while True:
                await asyncio.sleep(0)
                async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                    got = await tasks.create_task(self.inbox.get())
                if isinstance(got, BaseException):
                    raise got
                yield got
        except BaseException as error:
            self.ended_by.append((type(error), is_cancelled()))
            raise


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def interrupted(items: Interruptible[Any]) -> None:
    """Wait for an item that does not come, and be interrupted."""
    waiting = asyncio.ensure_future(read(items))
    await settled()
    items.interrupt()
    assert await waiting is None


async def read(items: Interruptible[Any]) -> Any:
    return await anext(items)


def test_items_come_as_they_are_made(run: Run) -> None:
    async def check() -> None:
        async def three() -> AsyncGenerator[int]:
            for number in range(3):
                await asyncio.sleep(0)
                yield number

        items = Quiet(three())
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ENDS):
            await anext(items)
        await items.aclose()

    run(check())


def test_a_wait_that_was_interrupted_goes_on(run: Run) -> None:
    async def check() -> None:
        source = Source()
        items = Quiet(source.items())
        for number in range(3):
            for _ in range(3):
                await interrupted(items)
            source.inbox.put_nowait(number)
            assert await anext(items) == number
        await items.aclose()

    run(check())


def test_what_comes_while_nobody_waits_is_there_afterwards(run: Run) -> None:
    async def check() -> None:
        source = Source()
        items = Quiet(source.items())
        await interrupted(items)
        source.inbox.put_nowait("hello")
        await settled()
        items.interrupt()  # nobody waits
        assert await anext(items) == "hello"
        await items.aclose()

    run(check())


@pytest.mark.parametrize("error", [ValueError("broken"), asyncio.CancelledError()])
def test_an_error_of_the_generator_is_raised_also_after_an_interruption(
    run: Run, error: BaseException
) -> None:
    async def check() -> None:
        for interruptions in (0, 2):
            source = Source()
            items = Quiet(source.items())
            for _ in range(interruptions):
                await interrupted(items)
            source.inbox.put_nowait(error)
            with pytest.raises(type(error)):
                await anext(items)
            assert source.ended_by == [(type(error), False)]
            await items.aclose()

    run(check())


def test_a_task_that_is_cancelled_while_it_waits_cancels_the_generator(run: Run) -> None:
    async def check() -> None:
        for interruptions in (0, 2):
            source = Source()
            items = Quiet(source.items())
            for _ in range(interruptions):
                await interrupted(items)
            waiting = asyncio.ensure_future(read(items))
            await settled()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert source.ended_by == [(asyncio.CancelledError, True)]
            await items.aclose()

    run(check())


def test_a_cancellation_that_comes_with_an_interruption_is_not_lost(run: Run) -> None:
    async def check() -> None:
        source = Source()
        items = Quiet(source.items())
        waiting = asyncio.ensure_future(read(items))
        await settled()
        items.interrupt()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert source.ended_by == [(asyncio.CancelledError, True)]
        await items.aclose()

    run(check())


def test_an_item_that_comes_with_an_interruption_is_not_lost(run: Run) -> None:
    async def check() -> None:
        source = Source()
        items = Quiet(source.items())
        for first in ("item", "interruption"):
            waiting = asyncio.ensure_future(read(items))
            await settled()
            if first == "item":
                source.inbox.put_nowait(1)
            items.interrupt()
            if first == "interruption":
                source.inbox.put_nowait(1)
            assert (await waiting or await anext(items)) == 1
        await items.aclose()

    run(check())


def test_closing_it_in_a_wait_cancels_the_generator_as_a_task_that_is_asked_to_end(
    run: Run,
) -> None:
    """A generator that calls replicas must not take it for a replica's end, and go on elsewhere."""

    async def check() -> None:
        source = Source()
        items = Quiet(source.items())
        await interrupted(items)
        await items.aclose()
        assert source.ended_by == [(asyncio.CancelledError, True)]

    run(check())


def test_closing_it_between_items_closes_the_generator(run: Run) -> None:
    async def check() -> None:
        source = Source()
        items = Quiet(source.items())
        source.inbox.put_nowait(1)
        assert await anext(items) == 1
        await items.aclose()
        assert source.ended_by == [(GeneratorExit, False)]

    run(check())


def test_a_timeout_around_a_wait_ends_it(run: Run) -> None:
    async def check() -> None:
        source = Source()
        async with aclosing(source.items()) as generator:
            items = Quiet(generator)
            await interrupted(items)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await anext(items)
            with suppress(ENDS):
                assert not await anext(items)
        assert source.ended_by == [(asyncio.CancelledError, True)]

    run(check())
