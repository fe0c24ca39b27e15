"""The least of an event loop that tasks, futures and timers run on: no sockets and no real time.

Its clock jumps to whatever comes next. A turn takes half a microsecond, where asyncio's own loop
takes ten: so many schedules of faults fit into a minute. All callbacks run in one context: nothing
that runs here has context variables.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
MOST_TURNS = 200_000  # of one run


class Deadlock(Exception):
    """Nothing is scheduled, and the run has not ended: it would wait for ever."""


class Call:
    """A callback that waits for its turn; implements as much of `TimerHandle` as is asked for."""

    __slots__ = ("arguments", "callback", "due_s")

    def __init__(self, callback: Callable[..., object], arguments: Any, due_s: float) -> None:
        self.callback: Callable[..., object] | None = callback
        self.arguments, self.due_s = arguments, due_s

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.due_s


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one coroutine after the other. Its time never goes back."""

    def __init__(self) -> None:
        self._ready: deque[Call] = deque()
        self._timers: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()
        self._now_s = 0.0
        self._tasks: list[asyncio.Task[Any]] = []  # of the run
        self.stalls_s = 0.0  # by which the clock goes on before the next timer: the loop is held up

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of `coroutine`. What is left over afterwards is cancelled, and must end."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(coroutine)
            try:
                self._turn_until(task.done)
            finally:
                self._end_all()
            return task.result()
        finally:
            asyncio._set_running_loop(None)
            for call in (*self._ready, *(timer[2] for timer in self._timers)):
                call.cancel()  # whoever made it may hold it
            self._ready.clear()
            self._timers.clear()

    def _end_all(self) -> None:
        tasks, self._tasks = [task for task in self._tasks if not task.done()], []
        for task in tasks:
            task.cancel()
        self._turn_until(lambda: all(task.done() for task in tasks))

    def _turn_until(self, done: Callable[[], bool]) -> None:
        ready = self._ready
        for _ in range(MOST_TURNS):
            if done():
                return
            if not ready:
                self._jump()
            call = ready.popleft()
            if call.callback is not None:
                call.callback(*call.arguments)
        raise Deadlock("it turns in circles")

    def _jump(self) -> None:
        if not self._timers:
            raise Deadlock("it waits for ever")
        self._now_s = max(self._now_s, self._timers[0][0]) + self.stalls_s
        self.stalls_s = 0.0
        while self._timers and self._timers[0][0] <= self._now_s:
            self._ready.append(heapq.heappop(self._timers)[2])

    def time(self) -> float:
        return self._now_s

    def call_soon(self, callback: Any, *arguments: Any, context: Any = None) -> Any:
        call = Call(callback, arguments, self._now_s)
        self._ready.append(call)
        return call

    def call_later(self, delay: float, callback: Any, *arguments: Any, context: Any = None) -> Any:
        when = self._now_s + delay
        call = Call(callback, arguments, when)
        heapq.heappush(self._timers, (when, next(self._numbers), call))
        return call

    def call_at(self, when: float, callback: Any, *arguments: Any, context: Any = None) -> Any:
        call = Call(callback, arguments, when)
        heapq.heappush(self._timers, (when, next(self._numbers), call))
        return call

    def create_future(self) -> Any:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise AssertionError(context)
