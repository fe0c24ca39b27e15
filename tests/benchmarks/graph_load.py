"""The load on the served graph, by the project's own benchmark client.

Every request is a chat completion with audio whose answer has an exact number of tokens: the
forced-speech processor of the served engine reads it from `max_completion_tokens`.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from deployments.chunker import AUDIO_TOKEN_S
from serve_app.bench.client import BenchClient, PreparedRequest, Target, prepare
from serve_app.bench.inputs import Input, SpeechInput, texts
from serve_app.bench.load import Arrivals, ClosedLoop, Extent, Poisson, run_load
from serve_app.bench.measures import RequestTrace, play, summarize
from serve_app.bench.overhead import measure_overhead
from tests.benchmarks.graph_config import MODEL

TOLERANCE_S = 1e-6
RETRY_AFTER_S = 1.0


@dataclass(slots=True)
class Phase:
    """One measurement, whole or cut short."""

    name: str
    traces: list[RequestTrace] = field(default_factory=list)
    wall_s: float = 0.0
    cut_after_s: float | None = None  # its time limit, where that ended it
    error: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    exact: bool = True  # whether answers must have just the length that was asked for

    @property
    def wrong_lengths(self) -> int:
        return sum(self.exact and not right_length(t) for t in self.traces if t.ok)

    def document(self) -> dict[str, Any]:
        first_s = min((trace.sent_s for trace in self.traces), default=0.0)
        return {
            "phase": self.name,
            "wall_s": round(self.wall_s, 3),
            "cut_after_s": self.cut_after_s,
            "error": self.error,
            **self.notes,
            "answers_of_wrong_length": self.wrong_lengths,
            "summary": asdict(summarize(self.traces)) if self.traces else None,
            "requests": [_row(trace, first_s) for trace in self.traces],
        }


class Load:
    """Runs phases against one server; a phase that exceeds its limit keeps what it has."""

    def __init__(
        self,
        url: str,
        seed: int = 0,
        *,
        exact: bool = True,
        recordings: Sequence[SpeechInput] = (),
        body: Mapping[str, Any] | None = None,
    ) -> None:
        """Texts are drawn at random; `recordings` take their place, one after another.

        Args:
            exact: the server makes forced answers, whose length is checked.
            body: more fields of every request.
        """
        self._url, self._seed, self._exact = url, seed, exact
        self._texts = texts()
        # No two alike until all were sent: the server keeps what it has heard.
        self._recordings = itertools.cycle(recordings) if recordings else None
        self._body = body or {}

    async def one_by_one(
        self, name: str, tokens: int, runs: int, limit_s: float, *, warm_up: int
    ) -> Phase:
        """`runs` requests, each sent when the one before has ended."""
        async with self._phase(name, limit_s) as (phase, client):
            await self._closed(client, [], [tokens], 1, Extent(requests=warm_up), seed=1)
            await self._closed(client, phase.traces, [tokens], 1, Extent(requests=runs))
        return phase

    async def together(
        self, name: str, tokens: int, count: int, limit_s: float, *, warm_up: bool
    ) -> Phase:
        """`count` requests at the same moment."""
        async with self._phase(name, limit_s) as (phase, client):
            once = Extent(requests=count)
            if warm_up:
                await self._closed(client, [], [tokens], count, once, seed=1)
            await self._closed(client, phase.traces, [tokens], count, once)
        return phase

    async def closed_loop(
        self, name: str, lengths: Sequence[int], clients: int, seconds: float, limit_s: float
    ) -> Phase:
        """`clients` that never pause, for `seconds`, then to the end of what they have begun.

        Lengths are a seeded mix and the first requests are spread over a second, as arrivals
        are; what the clients send in the first second is measured like everything else.
        """
        async with self._phase(name, limit_s) as (phase, client):
            send = _spread(client, clients, over_s=min(1.0, seconds / 4))
            await run_load(
                ClosedLoop(clients),
                Extent(duration_s=seconds),
                self._requests(lengths, self._seed),
                send,
                progress=phase.traces.append,
            )
        return phase

    async def listeners(
        self, name: str, lengths: Sequence[int], count: int, seconds: float, limit_s: float
    ) -> Phase:
        """`count` clients that hear an answer out before they ask again: `count` real streams."""
        async with self._phase(name, limit_s) as (phase, client):
            stop_s = time.perf_counter() + seconds
            spread = _spread(client, count, over_s=min(4.0, seconds / 4))

            async def send(request: PreparedRequest) -> RequestTrace:
                trace = await spread(request)
                phase.traces.append(trace)
                if trace.ok:
                    heard_s = trace.sent_s + trace.ttfa_s + trace.audio_s
                    await asyncio.sleep(max(0.0, min(heard_s, stop_s) - time.perf_counter()))
                return trace

            await run_load(
                ClosedLoop(count),
                Extent(duration_s=seconds),
                self._requests(lengths, self._seed),
                send,
            )
        return phase

    async def poisson(
        self, name: str, lengths: Sequence[int], rate: float, seconds: float, limit_s: float
    ) -> Phase:
        """`rate` requests a second at random times."""
        async with self._phase(name, limit_s) as (phase, client):
            await run_load(
                Poisson(rate),
                Extent(duration_s=seconds),
                self._requests(lengths, self._seed),
                client.send,
                seed=self._seed,
                progress=phase.traces.append,
            )
        return phase

    async def client_alone(self, streams: int, limit_s: float) -> Phase:
        """What the client itself adds."""
        async with self._phase(f"client alone, {streams} streams", limit_s) as (phase, _):
            phase.notes = asdict(await measure_overhead(streams))
        return phase

    async def _closed(
        self,
        client: BenchClient,
        traces: list[RequestTrace],
        lengths: Sequence[int],
        clients: int,
        extent: Extent,
        seed: int = 0,
    ) -> None:
        arrivals: Arrivals = ClosedLoop(clients)
        requests = self._requests(lengths, self._seed + seed)
        await run_load(arrivals, extent, requests, client.send, progress=traces.append)

    def _requests(self, lengths: Sequence[int], seed: int) -> Iterator[PreparedRequest]:
        """Prepared requests without end; names end in the number of tokens of their answers."""
        draw = random.Random(seed)
        while True:
            tokens = draw.choice(list(lengths))
            what: Input = next(self._recordings) if self._recordings else draw.choice(self._texts)
            named = replace(what, name=f"{what.name} → {tokens}")
            yield prepare(replace(self._target(), max_tokens=tokens), named)

    def _target(self) -> Target:
        return Target(
            f"{self._url}/v1", MODEL, voice="default", texts_by_chat=True, extra_body=self._body
        )

    @asynccontextmanager
    async def _phase(self, name: str, limit_s: float) -> AsyncIterator[tuple[Phase, BenchClient]]:
        phase = Phase(name, exact=self._exact)
        began_s = time.perf_counter()
        try:
            async with BenchClient(self._target()) as client, asyncio.timeout(limit_s):
                yield phase, client
        except TimeoutError:
            phase.cut_after_s = limit_s
        except Exception as error:  # one phase's failure is a result, the next ones still run
            phase.error = f"{type(error).__name__}: {error}"
        phase.wall_s = time.perf_counter() - began_s


def expected_audio_s(tokens: int) -> float:
    """How long the answer of `tokens` TA4 tokens plays: one in five is text."""
    return (tokens - -(-tokens // 5)) * AUDIO_TOKEN_S


def right_length(trace: RequestTrace) -> bool:
    """Whether an answer has all of its audio, to the sample."""
    tokens = int(trace.name.rpartition(" → ")[2])
    return abs(trace.audio_s - expected_audio_s(tokens)) < TOLERANCE_S


def _spread(client: BenchClient, clients: int, over_s: float) -> Any:
    """`client.send`, but the first request of each of `clients` waits its share of `over_s`.

    One that is refused waits before its client asks again, as `Retry-After` bids.
    """
    sent = 0

    async def send(request: PreparedRequest) -> RequestTrace:
        nonlocal sent
        number, sent = sent, sent + 1
        if number < clients:
            await asyncio.sleep(over_s * number / clients)
        trace = await client.send(request)
        if not trace.ok:
            await asyncio.sleep(RETRY_AFTER_S)
        return trace

    return send


def _row(trace: RequestTrace, first_s: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "input": trace.name,
        "outcome": trace.outcome,
        "sent_s": round(trace.sent_s - first_s, 4),
        "latency_s": round(trace.latency_s, 4),
    }
    if trace.ok:
        playback = play(trace.arrivals)
        row |= {
            "ttfa_s": round(trace.ttfa_s, 4),
            "audio_s": round(trace.audio_s, 4),
            "underruns": playback.underruns,
            "stalled_s": round(playback.stalled_s, 4),
        }
    return row
