"""Waiting for what an async generator gives next, and leaving off to do something else meanwhile.

asyncio leaves a wait only by cancelling what is waited for. To go on waiting, one would read the
generator in a task of its own, and each item would pass from one task to the other: a turn of the
event loop more for each, which costs ten times as much as this does.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from types import coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Interruptible(Generic[T]):
    """The items of an async generator. A wait for one can be interrupted, and goes on later.

    It is an iterator itself. A generator around `items` would cost each item as much again.
    """

    def __init__(self, items: AsyncGenerator[T]) -> None:
        self.silent_s = 0.0  # of the wait under way, for whoever counts it
        self._items = items
        self._has_begun = self._is_closing = False
        self._next: Any = None  # the `anext` that has begun and has not ended
        self._future: Any = None  # that it waits for; None: until the loop's next turn
        self._task: Any = None  # that waits
        self._cancelling = 0  # how often the task had been cancelled when it was interrupted
        self._is_interrupted = False

    def meanwhile(self) -> T:
        """What is given when a wait is interrupted."""
        raise NotImplementedError

    def first(self, item: T) -> T:
        """What is given for the first item."""
        return item

    def __aiter__(self) -> "Interruptible[T]":
        return self

    def interrupt(self) -> None:
        """Have whoever waits for an item get what is given meanwhile.

        The future keeps the callback that wakes the task. The task is woken by it at once, and the
        future goes on without it.
        """
        future, task = self._future, self._task
        if future is None or future.done() or self._is_interrupted or self._is_closing:
            return
        for wake, context in future._callbacks or ():
            if getattr(wake, "__self__", wake) is task:
                self._is_interrupted, self._cancelling = True, task.cancelling()
                future.remove_done_callback(wake)
                future.get_loop().call_soon(wake, self, context=context)
                return

    def result(self) -> None:
        """What a task that is woken early is told."""

    @coroutine
    def __anext__(self) -> Generator[Any, None, T]:
        """The next item, or what is given meanwhile.

        Raises StopAsyncIteration after the last item, and what the generator raises.
        """
        self._task = asyncio.current_task()
        self.silent_s = 0.0
        try:
            future = self._begin() if self._next is None else self._go_on()
            while True:
                self._future = future
                try:
                    yield future  # to the task, as an `await` does
                except BaseException as error:
                    future = self._next.throw(error)
                    continue
                if self._is_interrupted:
                    self._is_interrupted = False
                    if not future.done() and not self._was_cancelled():
                        return self.meanwhile()
                    future = self._go_on()
                else:
                    future = self._next.send(None)
        except StopIteration as end:
            self._next = self._future = None
            item: T = end.value
        except BaseException:
            self._next = self._future = None
            raise
        if self._has_begun:
            return item
        self._has_begun = True
        return self.first(item)

    def _begin(self) -> Any:
        self._next = self._items.__anext__()
        return self._next.send(None)

    def _go_on(self) -> Any:
        """What to wait for after an interruption."""
        if self._future.done():
            return self._next.send(None)
        self._future._asyncio_future_blocking = True  # so an `await` tells its task to wait
        return self._future

    def _was_cancelled(self) -> bool:
        """Whether the task was cancelled after it was interrupted: that goes before."""
        cancelled: bool = self._task.cancelling() > self._cancelling
        return cancelled

    async def aclose(self) -> None:
        """End the generator, as a cancellation does where it waits."""
        self._is_closing = True
        if self._next is not None:
            ending = asyncio.ensure_future(self._end())
            await asyncio.sleep(0)  # a task that is cancelled before it begins does nothing at all
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        await self._items.aclose()

    async def _end(self) -> None:
        await self.__anext__()
