"""When requests are sent: a fixed number at a time (closed loop), or at random times (Poisson)."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, repeat

from serve_app.bench.client import PreparedRequest
from serve_app.bench.measures import RequestTrace

Send = Callable[[PreparedRequest], Awaitable[RequestTrace]]
Progress = Callable[[RequestTrace], None]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`concurrency` clients; each sends its next request when its last one has ended."""

    concurrency: int

    @property
    def label(self) -> str:
        return f"{self.concurrency} at once"


@dataclass(frozen=True, slots=True)
class Poisson:
    """`rate` requests a second on average, however many are still being answered."""

    rate: float

    @property
    def label(self) -> str:
        return f"{self.rate:g}/s"


Arrivals = ClosedLoop | Poisson


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is sent: up to `requests`, for up to `duration_s`; at least one must be given."""

    requests: int | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if self.requests is None and self.duration_s is None:
            raise ValueError("a load needs a number of requests or a duration")


def poisson_times(rate: float, seed: int) -> Iterator[float]:
    """Seconds from the start at which requests are sent, without end; the first at 0."""
    draw = random.Random(seed)
    return accumulate((draw.expovariate(rate) for _ in repeat(None)), initial=0.0)


async def run_load(
    arrivals: Arrivals,
    extent: Extent,
    requests: Iterator[PreparedRequest],
    send: Send,
    *,
    seed: int = 0,
    progress: Progress = lambda trace: None,
) -> list[RequestTrace]:
    """Send what `extent` allows and wait for every answer. Traces are in order of their end."""
    load = _Load(extent, requests, send, progress)
    if isinstance(arrivals, ClosedLoop):
        await asyncio.gather(*(load.one_client() for _ in range(arrivals.concurrency)))
    else:
        await load.at_times(poisson_times(arrivals.rate, seed))
    return load.traces


class _Load:
    """One level's run."""

    def __init__(
        self, extent: Extent, requests: Iterator[PreparedRequest], send: Send, progress: Progress
    ) -> None:
        self._requests, self._send, self._progress = requests, send, progress
        self._left = extent.requests
        self._start_s = time.perf_counter()
        self._duration_s = extent.duration_s
        self.traces: list[RequestTrace] = []

    async def one_client(self) -> None:
        while (request := self._next(self._now_s())) is not None:
            await self._answer(request)

    async def at_times(self, times: Iterator[float]) -> None:
        async with asyncio.TaskGroup() as sent:
            for at_s in times:
                request = self._next(at_s)
                if request is None:
                    return
                await asyncio.sleep(at_s - self._now_s())
                sent.create_task(self._answer(request))

    def _now_s(self) -> float:
        return time.perf_counter() - self._start_s

    def _next(self, at_s: float) -> PreparedRequest | None:
        """The request to send at `at_s`, or None when the load is over."""
        if self._left == 0 or (self._duration_s is not None and at_s >= self._duration_s):
            return None
        if self._left is not None:
            self._left -= 1
        return next(self._requests)

    async def _answer(self, request: PreparedRequest) -> None:
        trace = await self._send(request)
        self.traces.append(trace)
        self._progress(trace)
