"""What open and talking realtime sessions cost one process of the ingress, with fake engines.

    python -m tests.benchmarks.realtime_load --idle 100 --talking 20 --seconds 60 [--semantic]

The server runs in a process of its own: uvicorn, the HTTP application, Silero and, with
`--semantic`, Smart Turn. Its clients speak in real time, 100 ms an event, and play nothing. Printed
as JSON: the server's processor time, what its event loop's callbacks took, its memory.
"""

import argparse
import asyncio
import base64
import json
import multiprocessing
import time
import wave
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import uvicorn
from websockets.asyncio.client import ClientConnection, connect

from deployments.chunker import ChunkSchedule
from deployments.thinker.fake import FakeThinkerEngine
from deployments.token2wav.fake import FakeSynthesizer
from serve_app.commands.serving.listeners import free_port
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.benchmarks.callback_clock import CallbackClock

VOICE = Path("deployments/token2wav/assets/default_voice.wav")
PIECE_S = 0.1
PAUSE_S = 2.0  # after the recording: the turn ends, and is answered
LIMIT_S = 0.005
WARM_S = 5.0


def serve(port: int, pipe: Connection) -> None:
    asyncio.run(_serve(port, pipe))


async def _serve(port: int, pipe: Connection) -> None:
    synthesizer = FakeSynthesizer(ChunkSchedule(), max_streams=1000)
    backend = FakeServeBackend(FakeThinkerEngine(seconds_per_delta=0.05), synthesizer)
    await backend.start()
    app = create_http_app(backend, HttpSettings())
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    with CallbackClock(asyncio.get_running_loop(), LIMIT_S) as clock:
        serving = asyncio.create_task(server.serve())
        while not pipe.poll():
            await asyncio.sleep(0.05)
        if pipe.recv() == "count":  # from now on
            clock.took_s.clear()
            clock.long.clear()
        while not pipe.poll():
            await asyncio.sleep(0.05)
        server.should_exit = True
        await serving
    computed = sorted(each.computed_s for each in clock.long)
    pipe.send((len(clock.took_s), computed, [each.name for each in clock.long]))


def speech() -> list[str]:
    """A recording and a pause, as the audio of events."""
    with wave.open(str(VOICE)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        rate_hz = file.getframerate()
    samples = np.concatenate((samples, np.zeros(round(PAUSE_S * rate_hz), "<i2")))
    step = round(PIECE_S * rate_hz)
    pieces = (samples[at : at + step].tobytes() for at in range(0, len(samples), step))
    return [base64.b64encode(piece).decode() for piece in pieces]


async def talk(socket: ClientConnection, pieces: list[str], late_s: float) -> None:
    """Speak for ever, in real time."""
    await asyncio.sleep(late_s)
    began_s = time.monotonic()
    count = 0
    while True:
        audio = pieces[count % len(pieces)]
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        count += 1
        await asyncio.sleep(max(0.0, began_s + count * PIECE_S - time.monotonic()))


async def read(socket: ClientConnection, answers: list[str]) -> None:
    async for text in socket:
        event = json.loads(text)
        if event["type"] == "response.done":
            answers.append(event["response"]["status"])
        assert event["type"] != "error", event


async def load(port: int, pipe: Connection, process: psutil.Process, asked: Any) -> dict[str, Any]:
    turns = {"type": "semantic_vad"} if asked.semantic else {"type": "server_vad"}
    update = {"type": "realtime", "audio": {"input": {"turn_detection": turns}}}
    pieces, answers, tasks = speech(), [], []
    async with AsyncExitStack() as stack:
        for number in range(asked.idle + asked.talking):
            opening = connect(f"ws://127.0.0.1:{port}/v1/realtime", max_size=1 << 20)
            socket = await stack.enter_async_context(opening)
            await socket.send(json.dumps({"type": "session.update", "session": update}))
            tasks.append(asyncio.create_task(read(socket, answers)))
            if number >= asked.idle:
                late_s = WARM_S * number / (asked.idle + asked.talking)
                tasks.append(asyncio.create_task(talk(socket, pieces, late_s)))
        await asyncio.sleep(2 * WARM_S)
        pipe.send("count")
        answers.clear()
        before, rss = process.cpu_times(), [process.memory_info().rss]
        for _ in range(4):
            await asyncio.sleep(asked.seconds / 4)
            rss.append(process.memory_info().rss)
        after = process.cpu_times()
        for task in tasks:
            task.cancel()
    computed_s = after.user + after.system - before.user - before.system
    return {
        "idle": asked.idle,
        "talking": asked.talking,
        "turns": turns["type"],
        "seconds": asked.seconds,
        "cores": round(computed_s / asked.seconds, 3),
        "answers": {status: answers.count(status) for status in sorted(set(answers))},
        "rss_mib": [round(each / 2**20, 1) for each in rss],
    }


async def opened(port: int) -> None:
    """Wait until the server listens."""
    while True:
        try:
            async with connect(f"ws://127.0.0.1:{port}/v1/realtime"):
                return
        except OSError:
            await asyncio.sleep(0.1)


async def measured(asked: Any) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    port = free_port()
    server = spawn.Process(target=serve, args=(port, theirs))
    server.start()
    try:
        await opened(port)
        found = await load(port, ours, psutil.Process(server.pid), asked)
        ours.send("end")
        count, computed, names = await asyncio.to_thread(ours.recv)
    finally:
        server.join(20)
        server.kill()
    over = [seconds for seconds in computed if seconds > LIMIT_S]
    return found | {
        "callbacks": count,
        "callbacks_over_5_ms_of_cpu": len(over),
        "share_over_5_ms": len(over) / max(1, count),
        "longest_ms_of_cpu": round(1000 * max(computed, default=0.0), 2),
        "long_ones": sorted(set(names))[:10],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=100)
    parser.add_argument("--talking", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--semantic", action="store_true")
    print(json.dumps(asyncio.run(measured(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
