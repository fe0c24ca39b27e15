"""The threads in which an engine works, so that the event loop never does."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from deployments.stages import Steps

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


class CountingRunner:
    """Runs calls in another runner, counts them, and says how long the one under way takes."""

    def __init__(self, runner: Runner, now_s: Callable[[], float] = time.monotonic) -> None:
        self._runner = runner
        self._now_s = now_s
        self._made = 0
        self._began_s: float | None = None  # of the call under way

    async def run(self, call: Callable[[], T]) -> T:
        def counted() -> T:
            self._began_s = self._now_s()
            try:
                return call()
            finally:
                self._began_s = None
                self._made += 1

        return await self._runner.run(counted)

    def steps(self) -> Steps:
        began_s = self._began_s  # its thread may end the call meanwhile
        return Steps(self._made, 0.0 if began_s is None else self._now_s() - began_s)

    def close(self) -> None:
        self._runner.close()
