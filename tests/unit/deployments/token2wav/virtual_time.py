"""An event loop whose clock jumps to whatever comes next: seconds of load in no time, exactly."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
MOST_TURNS = 100_000  # of the loop at one moment


class _Jumping(selectors.DefaultSelector):
    """Never waits: takes note of how long it should have."""

    now_s = 0.0
    turns_at_once = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is scheduled: the load waits for ever")
        self.turns_at_once = 0 if timeout > 0 else self.turns_at_once + 1
        if self.turns_at_once > MOST_TURNS:
            raise RuntimeError("the load turns in circles: time stands still")
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Without threads: what runs in one would take no time at all."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run_virtually(load: Coroutine[Any, Any, T]) -> T:
    """Run `load` to its end; `asyncio`'s sleeps and timeouts take virtual seconds."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(load)


class Timed(Protocol):
    """An engine that computes at once and says what it would have taken."""

    took_s: float  # since it was last set to 0


class VirtualRunner:
    """In place of a thread: a call is done at once, and its time passes on the loop's clock."""

    def __init__(self, engine: Timed) -> None:
        self._engine = engine

    async def run(self, call: Callable[[], T]) -> T:
        result = call()
        took_s, self._engine.took_s = self._engine.took_s, 0.0
        await asyncio.sleep(took_s)
        return result

    def close(self) -> None: ...
