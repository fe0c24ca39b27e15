"""The threads in which an engine works, so that the event loop never does."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Runner(Protocol):
    """Runs calls one at a time, in the order in which they come."""

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`. Raises what `call` raises."""

    def close(self) -> None:
        """Begin no further call. May be called twice."""


class ThreadRunner:
    """Runs calls in one thread of its own."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._closed = False

    async def run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def close(self) -> None:
        # A finalizer may close what is closed. `shutdown` takes a lock, and the collection that
        # runs the finalizer may have begun in a thread that has it.
        if not self._closed:
            self._closed = True
            self._thread.shutdown(wait=False, cancel_futures=True)
