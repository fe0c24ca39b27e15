"""Waiting for what an async generator gives next, and leaving off to do something else meanwhile.

asyncio leaves a wait only by cancelling what is waited for. To go on waiting, one would read the
generator in a task of its own, and each item would pass from one task to the other: a turn of the
event loop more for each, which costs ten times as much as this does.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Context
from types import coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Interruptible(Generic[T]):
    """The items of an async generator. A wait for one can be interrupted, and goes on later."""

    def __init__(self, items: AsyncGenerator[T]) -> None:
        self._items = items
        self._next: Any = None  # the `anext` that has begun and has not ended
        self._future: Any = None  # that it waited for when it was interrupted
        self._wait: _Wait | None = None  # that the task is in now

    def interrupt(self) -> None:
        """Have `next` give None, if it waits."""
        if self._wait is not None:
            self._wait.interrupt()

    @coroutine
    def next(self) -> Generator[Any, None, T | None]:
        """The next item, or None where the wait was interrupted: then call it again.

        Raises StopAsyncIteration after the last item, and what the generator raises.
        """
        future, self._future = self._future, None
        try:
            if self._next is None:
                self._next = self._items.__anext__()
                future = self._next.send(None)
            while True:
                error = yield from self._until_done(future)
                if self._future is not None:
                    return None
                future = self._next.throw(error) if error else self._next.send(None)
        except StopIteration as end:
            self._next = None
            item: T = end.value
            return item
        except BaseException:
            self._next = None
            raise

    def _until_done(self, future: Any) -> Generator[Any, None, BaseException | None]:
        """Wait as a task does, and give what it would raise. An interrupted wait is kept."""
        if future is not None and future.done():
            return None
        wait = None  # until the loop's next turn
        if future is not None:
            future._asyncio_future_blocking = False  # so an `await` tells its task to wait
            wait = self._wait = _Wait(future)
        try:
            yield wait
        except BaseException as error:
            return error
        finally:
            self._wait = None
        if wait is not None and wait.is_interrupted:
            self._future = future
        return None

    async def aclose(self) -> None:
        """End the generator, as a cancellation does where it waits."""
        if self._next is not None:
            ending = asyncio.create_task(self._end())
            await asyncio.sleep(0)  # a task that is cancelled before it begins does nothing at all
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        await self._items.aclose()

    async def _end(self) -> None:
        while await self.next() is None:
            pass


class _Wait:
    """A future to asyncio's tasks, in place of the one that is waited for."""

    def __init__(self, future: Any) -> None:
        self._asyncio_future_blocking = True
        self.is_interrupted = False
        self._future = future
        self._wake: Callable[[Any], object] | None = None
        self._context: Context | None = None

    def interrupt(self) -> None:
        if self._wake is not None and not self.is_interrupted and not self._future.done():
            self.is_interrupted = True
            self._future.remove_done_callback(self._wake)
            self.get_loop().call_soon(self._wake, self, context=self._context)

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context) -> None:
        self._wake, self._context = wake, context
        self._future.add_done_callback(wake, context=context)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = self._future.get_loop()
        return loop

    def cancel(self, msg: Any = None) -> bool:
        """Whether the future could be cancelled; a task that wakes anyway cancels itself."""
        return not self.is_interrupted and self._future.cancel(msg)

    def result(self) -> None:
        """Of a wait that was interrupted."""
