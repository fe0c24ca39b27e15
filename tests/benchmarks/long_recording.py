"""An hour of speech in every format of a transcript: `make hour`.

Held-out sentences of nano with pauses between them, sent to a server of its own process over a fake
Thinker, or to one that runs (`--url`). Whatever the model writes, the formats must agree, every
segment must be a sentence with borders right to 50 ms, and the server's memory must stay bounded.
With a model that listens, `--url` also gives the word error rate.
"""

import asyncio
import multiprocessing
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
import uvicorn
from openai import AsyncOpenAI
from rich.console import Console
from rich.table import Table

from deployments.thinker.fake import FakeThinkerEngine
from serve_app.commands.word_error_rate import word_error_rate
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.serve_middlewares import Front
from serve_app.http.settings import HttpSettings
from tests.nano.with_pauses import Spoken, with_pauses

MODEL = "step-audio-2-mini"
FORMATS = ("verbose_json", "srt", "vtt", "text", "json", "stream")
MOST_GROWTH_MB = 300
BORDER_S = 0.05
MB = 1e6
TIMEOUT_S = 3600.0


def serve_fake(listener: socket.socket) -> None:
    """The HTTP application over a fake Thinker, until it is killed."""

    async def run() -> None:
        backend = FakeServeBackend(FakeThinkerEngine(), None)
        await backend.start()
        app = Front(create_http_app(backend, HttpSettings(models=(MODEL,))))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        await server.serve(sockets=[listener])

    asyncio.run(run())


@contextmanager
def fake_server() -> Iterator[tuple[str, int]]:
    """Its address and its process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # so that the first request waits until the server is up
        spawning = multiprocessing.get_context("spawn")
        process = spawning.Process(target=serve_fake, args=(listener,), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", process.pid or 0
        finally:
            process.kill()
            process.join()


class ResidentMemory:
    """Of another process, whose peak is counted from now on."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the peak
        self._before = self._read("VmRSS")

    def growth_mb(self) -> float:
        """The peak over what it was in the beginning."""
        return (self._read("VmHWM") - self._before) / MB

    def _read(self, name: str) -> float:
        return 1024 * int(re.search(rf"{name}:\s+(\d+) kB", self._status.read_text())[1])  # type: ignore[index]


async def transcribe(openai: AsyncOpenAI, file: bytes, form: str) -> Any:
    """The answer in one of FORMATS; of a stream the pieces of its text."""
    if form != "stream":
        return await openai.audio.transcriptions.create(
            model=MODEL,
            file=("hour", file),
            response_format=form,  # type: ignore[call-overload]
        )
    stream = await openai.audio.transcriptions.create(model=MODEL, file=("hour", file), stream=True)
    *deltas, done = [event async for event in stream]
    assert "".join(delta.delta for delta in deltas) == done.text  # type: ignore[union-attr]
    return done


def faults_of(answers: dict[str, Any], spoken: Spoken) -> list[str]:
    """What is not as it must be."""
    verbose, faults = answers["verbose_json"], []
    times = [(segment.start, segment.end) for segment in verbose.segments]
    truth = [(sentence.start_s, sentence.end_s) for sentence in spoken.sentences]
    if len(times) != len(truth):
        faults.append(f"{len(times)} segments of {len(truth)} sentences")
    else:
        off = float(np.abs(np.subtract(times, truth)).max())
        print(f"borders are off by at most {1000 * off:.0f} ms")
        if off > BORDER_S:
            faults.append(f"a border is off by {off:.3f} s")
    texts = {
        "verbose_json's segments": "".join(segment.text for segment in verbose.segments),
        "text": answers["text"],
        "json": answers["json"].text,
        "stream": answers["stream"].text,
    }
    faults += [f"{name} is another text" for name, text in texts.items() if text != verbose.text]
    lines = [segment.text.strip() for segment in verbose.segments]
    for form in ("srt", "vtt"):
        if re.findall(r" --> .*\n(.*)\n", answers[form]) != lines:
            faults.append(f"{form} has other texts")
    return faults


async def measure(url: str, pid: int | None, spoken: Spoken, file: bytes) -> list[str]:
    """Ask for every format in turn; prints a table, gives the faults."""
    openai = AsyncOpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=httpx.Timeout(TIMEOUT_S)
    )
    await transcribe(openai, with_pauses(2).file(), "srt")  # loads what is loaded once
    table = Table("format", "seconds", "memory grew by, MB")
    answers, faults = {}, []
    for form in FORMATS:
        memory = ResidentMemory(pid) if pid else None
        begin = time.monotonic()
        answers[form] = await transcribe(openai, file, form)
        seconds = time.monotonic() - begin
        grown = memory.growth_mb() if memory else None
        if grown is not None and grown > MOST_GROWTH_MB:
            faults.append(f"{form}: memory grew by {grown:.0f} MB")
        table.add_row(form, f"{seconds:.1f}", "" if grown is None else f"{grown:.0f}")
    Console().print(table)
    if pid is None:
        said = [sentence.text for sentence in spoken.sentences]
        heard = [segment.text for segment in answers["verbose_json"].segments]
        print(f"word error rate: {word_error_rate([' '.join(said)], [''.join(heard)]):.4f}")
    return faults + faults_of(answers, spoken)


def main(
    minutes: Annotated[float, typer.Option(help="How much speech.")] = 60.0,
    container: Annotated[str, typer.Option(help="WAV, FLAC, OGG or MP3.")] = "WAV",
    url: Annotated[
        str | None, typer.Option(help="A server that runs, in place of our own.")
    ] = None,
) -> None:
    """Transcribe a long recording in every format and check that the answers agree."""
    spoken = with_pauses(seconds=60 * minutes)
    file = spoken.file(container)
    print(f"{len(spoken.sentences)} sentences, {minutes:g} min, {len(file) / MB:.0f} MB")
    if url is not None:
        faults = asyncio.run(measure(url, None, spoken, file))
    else:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        with fake_server() as (own, pid):
            faults = asyncio.run(measure(own, pid, spoken, file))
    for fault in faults:
        print(f"FAULT: {fault}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    typer.run(main)
