"""What each format costs: `python -m tests.benchmarks.format_costs`.

Three tables. The processor's time of an encoder, in its thread. The first byte of an answer at an
HTTP client, over a graph that speaks at once, the formats in turn. What one event loop does with
`--streams` streams in real time, with `CallbackClock` on it.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import httpx
import numpy as np
import soundfile
import typer
import uvicorn

from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest, Usage
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from serve_app.http.speech.router import sound_bytes
from serve_app.sound.encoding.format_table import FORMATS
from tests.benchmarks.callback_clock import CallbackClock
from tests.places import ROOT

VOICE = ROOT / "deployments" / "token2wav" / "assets" / "default_voice.wav"
NAMES = ("wav", "pcm", "mp3", "opus", "aac", "flac")
FIRST_CHUNK, CHUNK, SECOND = 9_600, 9_600, 48_000  # bytes: 200 ms and 1 s
LONG_CALLBACK_S = 0.005


def speech() -> bytes:
    """The 6 s of speech that ship, s16le mono 24 kHz."""
    samples, rate_hz = soundfile.read(VOICE, dtype="int16")
    assert rate_hz == 24_000
    return np.ascontiguousarray(samples).astype("<i2").tobytes()


def encoder_costs(name: str, pcm: bytes, times: int) -> tuple[float, float, float]:
    """Milliseconds of the thread's time: opening and the first chunk, a later chunk, a second.

    The least of several runs, as others use the machine too; a chunk is the median of a run.
    """
    runs = []
    for _ in range(times):
        began, steps = time.thread_time(), []
        encoder = FORMATS[name].encoder()
        for begin in range(0, len(pcm), CHUNK):
            encoder.encode(pcm[begin : begin + CHUNK])
            steps.append(time.thread_time() - began)
            began = time.thread_time()
        encoder.finish()
        encoder.close()
        runs.append((steps[0], statistics.median(steps[1:]), sum(steps) / (len(pcm) / SECOND)))
    first, chunk, second = (1e3 * min(column) for column in zip(*runs, strict=True))
    return first, chunk, second


class ReadyBackend:
    """Speaks 600 ms as soon as it is asked."""

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm

    async def text(self, request: ThinkerRequest) -> AsyncGenerator[ThinkerDelta]:
        yield ThinkerDelta(finish_reason="stop")

    async def speech(self, request: SpeechRequest) -> AsyncGenerator[SpeechDelta]:
        yield SpeechDelta(pcm=self._pcm[:FIRST_CHUNK])
        rest = self._pcm[FIRST_CHUNK : 3 * FIRST_CHUNK]
        yield SpeechDelta(pcm=rest, finish_reason="stop", usage=Usage(1, 15))

    async def voices(self) -> tuple[str, ...]:
        return ("default",)

    async def ready(self) -> bool:
        return True

    async def ready_for_text(self) -> bool:
        return True


async def first_bytes(pcm: bytes, times: int) -> dict[str, list[float]]:
    """By format, seconds from a request to the first byte of its sound."""
    app = create_http_app(ReadyBackend(pcm), HttpSettings())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    took: dict[str, list[float]] = {name: [] for name in NAMES}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1") as client:
        for name in itertools.islice(itertools.cycle(NAMES), len(NAMES) * (times + 1)):
            took[name].append(await _first_byte(client, name))
    server.should_exit = True
    await serving
    return {name: values[1:] for name, values in took.items()}  # the first one opened connections


async def _first_byte(client: httpx.AsyncClient, name: str) -> float:
    body = {"model": "tts-1", "input": "Hello.", "response_format": name}
    began = time.perf_counter()
    async with client.stream("POST", "/audio/speech", json=body) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        took = time.perf_counter() - began
        async for _ in pieces:
            pass
    return took


async def loop_costs(name: str, pcm: bytes, streams: int, seconds: int) -> CallbackClock:
    """One event loop that sends `streams` streams of `name`, each a second of sound a second."""

    async def paced(wait_s: float) -> AsyncGenerator[SpeechDelta]:
        await asyncio.sleep(wait_s)
        for second in range(seconds):
            begin = second * SECOND % (len(pcm) - SECOND)
            yield SpeechDelta(pcm=pcm[begin : begin + SECOND])
            await asyncio.sleep(1)

    async def listen(number: int) -> None:
        async with aclosing(sound_bytes(paced(number / streams), FORMATS[name])) as pieces:
            async for _ in pieces:
                pass

    with CallbackClock(asyncio.get_running_loop(), LONG_CALLBACK_S) as clock:
        await asyncio.gather(*map(listen, range(streams)))
    return clock


def main(
    times: Annotated[int, typer.Option(help="Runs of each encoder, requests of each format.")] = 50,
    streams: Annotated[int, typer.Option(help="Streams on one event loop.")] = 128,
    seconds: Annotated[int, typer.Option(help="How long those play.")] = 10,
) -> None:
    pcm = speech()
    print("| format | opening and first 200 ms | later 200 ms | 1 s | ms of CPU")
    for name in NAMES:
        print(f"| {name} |", " | ".join(f"{ms:.2f}" for ms in encoder_costs(name, pcm, times)))
    print("| format | first byte p10 | p50 | p90 | ms")
    for name, took in asyncio.run(first_bytes(pcm, times)).items():
        centiles = statistics.quantiles(took, n=10)
        print(f"| {name} |", " | ".join(f"{1e3 * centiles[i]:.2f}" for i in (0, 4, 8)))
    print(f"| format | {streams} streams: cores | callbacks | over 5 ms, wall | over 5 ms, CPU")
    for name in NAMES:
        began, computed = time.perf_counter(), time.process_time()
        clock = asyncio.run(loop_costs(name, pcm, streams, seconds))
        cores = (time.process_time() - computed) / (time.perf_counter() - began)
        own = sum(call.computed_s > LONG_CALLBACK_S for call in clock.long)
        print(f"| {name} | {cores:.2f} | {len(clock.took_s)} | {len(clock.long)} | {own}")


if __name__ == "__main__":
    typer.run(main)
