"""How long every single callback of an event loop runs, on asyncio's own loop and on uvloop.

Their debug modes say so too, but write a traceback down for each callback, which costs more than
most of them. Both loops take callbacks through methods that an instance may replace, and each step
of a task, each timer and each future's callback comes that way. What does not is the loop's own
input and output: data that a protocol receives, readers of sockets, writes that uvloop puts off.
They are bounded together: what the thread computed between two callbacks that were timed.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

METHODS = ("call_soon", "call_soon_threadsafe", "call_at")
UNSEEN = "over before it was seen"


@dataclass(frozen=True, slots=True)
class LongCallback:
    """One that ran for longer than the limit."""

    took_s: float
    computed_s: float  # of that, the processor's time of the loop's thread
    name: str
    doing: str  # as a look at the thread showed it


class CallbackClock:
    """Times the callbacks of `loop` that are scheduled while it is entered.

    To be entered and left on the loop's own thread. Another thread may look at `running_since_s`
    and write into `doing` what it sees.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._ended_computed_s = 0.0
        self._on = False
        self.running_since_s: float | None = None
        self.doing = ""
        self.took_s: list[float] = []
        self.untimed_longest_s = 0.0
        self.long: list[LongCallback] = []

    def __enter__(self) -> Self:
        # asyncio's call_later goes through call_at, which counts it; uvloop's does not.
        by_itself = not isinstance(self._loop, asyncio.BaseEventLoop)
        self._replaced = (*METHODS, "call_later") if by_itself else METHODS
        for name in self._replaced:
            setattr(self._loop, name, self._timing(getattr(self._loop, name), name))
        self._ended_computed_s = time.thread_time()
        self._on = True
        return self

    def __exit__(self, *error: object) -> None:
        self._on = False
        for name in self._replaced:
            delattr(self._loop, name)  # the class's own method shows again

    def _timing(self, schedule: Callable[..., Any], name: str) -> Callable[..., Any]:
        if name.startswith("call_soon"):

            def soon(callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
                return schedule(self._timed(callback), *args, context=context)

            return soon

        def timer(
            when: float, callback: Callable[..., Any], *args: Any, context: Any = None
        ) -> Any:
            return schedule(when, self._timed(callback), *args, context=context)

        return timer

    def _timed(self, callback: Callable[..., Any]) -> Callable[..., None]:
        def run(*args: Any) -> None:
            before_s = time.thread_time()
            if self._on:
                untimed_s = before_s - self._ended_computed_s
                self.untimed_longest_s = max(self.untimed_longest_s, untimed_s)
            self.doing, began_s = "", time.perf_counter()
            self.running_since_s = began_s
            try:
                callback(*args)
            finally:
                self.running_since_s = None
                self._note(callback, time.perf_counter() - began_s, before_s)

        return run

    def _note(self, callback: Callable[..., Any], took_s: float, before_s: float) -> None:
        self._ended_computed_s = time.thread_time()
        if not self._on:  # scheduled before, run after
            return
        self.took_s.append(took_s)
        if took_s > self._limit_s:
            computed_s = self._ended_computed_s - before_s
            name = name_of(callback)
            self.long.append(LongCallback(took_s, computed_s, name, self.doing or UNSEEN))


def name_of(callback: Callable[..., Any]) -> str:
    """The coroutine whose step it is, or the function."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"a step of {_qualified(owner.get_coro())}"
    return _qualified(callback)


def _qualified(what: Any) -> str:
    name = getattr(what, "__qualname__", None)
    if name is None:
        return repr(what)
    module = getattr(what, "__module__", None)
    return f"{module}:{name}" if module else str(name)
