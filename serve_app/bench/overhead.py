"""What the client itself adds: its delays against a server with known sending times.

The server does nothing but send silence, from the same event loop, so its own share is in the
delays: they are upper bounds.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from serve_app.bench.client import SPEECH_PATH, BenchClient, PreparedRequest, Target
from serve_app.bench.load import ClosedLoop, Extent, run_load
from serve_app.bench.measures import (
    BYTES_PER_SECOND,
    Arrival,
    Percentiles,
    RequestTrace,
    percentiles,
)

PIECE_S = 1.0  # of audio, 48 kB: what a steady chunk of the server is
PIECES = 3
PACE_S = 0.5  # twice real time
HEADER = "x-bench-stream"  # name, pieces and the wait before the first, by spaces


@dataclass(frozen=True, slots=True)
class ClientOverhead:
    """With `streams` streams, each of `PIECE_S` of audio every `PACE_S`."""

    streams: int
    ttfa_s: Percentiles  # of a server that answers at once, all streams asking together
    delay_s: Percentiles  # from the server's write to the client's note of it, streams apart
    cpu_share: float  # of one core while they flow, client and trivial server together


@asynccontextmanager
async def trivial_server() -> AsyncIterator[tuple[str, dict[str, list[float]]]]:
    """Yields its base URL and, by each request's name, the times at which it wrote."""
    written: dict[str, list[float]] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                await reader.readexactly(int(_header(head, "content-length")))
                name, pieces, wait_s = _header(head, HEADER).split()
                await asyncio.sleep(float(wait_s))
                await _send_pieces(writer, int(pieces), written.setdefault(name, []))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}/v1", written
    finally:
        server.close()


async def measure_overhead(streams: int) -> ClientOverhead:
    """Follow `streams` streams of the trivial server.

    Raises:
        RuntimeError: one of them failed, so the client cannot carry that many.
    """
    async with (
        trivial_server() as (base_url, written),
        BenchClient(Target(base_url, model="trivial")) as client,
    ):

        async def follow(run: str, pieces: int, apart_s: float) -> list[RequestTrace]:
            async def send(request: PreparedRequest) -> RequestTrace:
                wait_s = apart_s * int(request.name)
                name = f"{run}{request.name}"
                trace = await client.send(request, {HEADER: f"{name} {pieces} {wait_s}"})
                trace.name = name
                return trace

            requests = (PreparedRequest(str(i), SPEECH_PATH, b"{}") for i in itertools.count())
            traces = await run_load(ClosedLoop(streams), Extent(streams), requests, send)
            for trace in traces:
                if not trace.ok:
                    raise RuntimeError(f"the benchmark cannot follow {streams}: {trace.outcome}")
            return traces

        await follow("connect", 1, 0.0)
        together = await follow("together", 1, 0.0)
        start_s, cpu_s = time.perf_counter(), time.process_time()
        apart = await follow("apart", PIECES, PACE_S / streams)
        cpu_share = (time.process_time() - cpu_s) / (time.perf_counter() - start_s)
    delays = [
        there - here
        for trace in apart
        for here, there in zip(
            written[trace.name], held_at(trace.arrivals, PIECE_S, PIECES), strict=True
        )
    ]
    ttfa_s, delay_s = percentiles(trace.ttfa_s for trace in together), percentiles(delays)
    assert ttfa_s is not None and delay_s is not None  # at least one stream, each with pieces
    return ClientOverhead(streams, ttfa_s, delay_s, cpu_share)


def held_at(arrivals: Sequence[Arrival], piece_s: float, pieces: int) -> list[float]:
    """When the client held the whole of the first, the second, … of `pieces` equal pieces."""
    times: list[float] = []
    held_s = 0.0
    for arrival in arrivals:
        held_s += arrival.audio_s
        while len(times) < pieces and held_s > (len(times) + 1) * piece_s - 1e-9:
            times.append(arrival.at_s)
    return times


async def _send_pieces(writer: asyncio.StreamWriter, pieces: int, written: list[float]) -> None:
    piece = bytes(int(PIECE_S * BYTES_PER_SECOND))
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(pieces):
        if i:
            await asyncio.sleep(PACE_S)
        written.append(time.perf_counter())
        writer.write(chunk)
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _header(head: str, name: str) -> str:
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    raise ValueError(f"the request has no header {name}")
