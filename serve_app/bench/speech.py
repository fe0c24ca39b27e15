"""`bench speech`: one level of load after another against an endpoint."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from serve_app.bench.client import BenchClient, PreparedRequest, Target, prepare
from serve_app.bench.inputs import Input, SpeechInput, TextInput, mix
from serve_app.bench.load import Arrivals, ClosedLoop, Extent, run_load
from serve_app.bench.measures import RequestTrace, Summary, summarize
from serve_app.bench.overhead import ClientOverhead, measure_overhead

POISSON_CLIENTS_FOR_OVERHEAD = 64


@dataclass(frozen=True, slots=True)
class Workload:
    """What is said, and how much of it."""

    texts: Sequence[TextInput]
    recordings: Sequence[SpeechInput]
    speech_share: float
    extent: Extent
    warm_up: int | None = None  # requests before each level; None: as many as the level has clients
    seed: int = 0
    prebuffer_s: float = 0.0

    def requests(self, target: Target, seed: int) -> Iterator[PreparedRequest]:
        """Prepared requests without end; each input is encoded once."""
        prepared: dict[Input, PreparedRequest] = {}
        for what in mix(self.texts, self.recordings, self.speech_share, seed):
            if what not in prepared:
                prepared[what] = prepare(target, what)
            yield prepared[what]


@dataclass(frozen=True, slots=True)
class Level:
    """One level's result."""

    arrivals: Arrivals
    summary: Summary
    traces: list[RequestTrace]


@dataclass(frozen=True, slots=True)
class SpeechResult:
    overhead: ClientOverhead | None
    levels: list[Level]


OnLevel = Callable[[SpeechResult], None]  # with all levels so far
OnRequest = Callable[[Arrivals, RequestTrace | None], None]  # None: a warm-up request has ended


async def bench_speech(
    target: Target,
    workload: Workload,
    levels: Sequence[Arrivals],
    *,
    own_overhead: bool = True,
    on_request: OnRequest = lambda arrivals, trace: None,
    on_level: OnLevel = lambda result: None,
) -> SpeechResult:
    """Measure every level in turn. Failed requests are counted, never raised."""
    overhead = await measure_overhead(_most_streams(levels)) if own_overhead else None
    result = SpeechResult(overhead, [])
    async with BenchClient(target) as client:
        for number, arrivals in enumerate(levels):
            await _warm_up(client, target, workload, arrivals, on_request)
            traces = await run_load(
                arrivals,
                workload.extent,
                workload.requests(target, workload.seed),
                client.send,
                seed=workload.seed + number,
                progress=partial(on_request, arrivals),
            )
            result.levels.append(Level(arrivals, summarize(traces, workload.prebuffer_s), traces))
            on_level(result)
    return result


async def _warm_up(
    client: BenchClient,
    target: Target,
    workload: Workload,
    arrivals: Arrivals,
    on_request: OnRequest,
) -> None:
    clients = arrivals.concurrency if isinstance(arrivals, ClosedLoop) else 1
    count = clients if workload.warm_up is None else workload.warm_up
    if count:
        await run_load(
            ClosedLoop(min(clients, count)),
            Extent(requests=count),
            workload.requests(target, workload.seed + 1),
            client.send,
            progress=lambda trace: on_request(arrivals, None),
        )


def _most_streams(levels: Sequence[Arrivals]) -> int:
    closed = [level.concurrency for level in levels if isinstance(level, ClosedLoop)]
    return max(closed, default=POISSON_CLIENTS_FOR_OVERHEAD)
