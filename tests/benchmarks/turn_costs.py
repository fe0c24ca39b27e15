"""What turns cost: `python -m tests.benchmarks.turn_costs`.

Sessions send speech in real time to one `VoiceActivity`. Printed are the processor's time of its
thread and of the event loop, as a share of a core for each session, and how long `Listener.hear`
took. Then the processor's time of one question to Smart Turn.
"""

import asyncio
import os
import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from serve_app.sound.turns import FRAME_MS, Listener, ServerVad, VoiceActivity
from serve_app.sound.turns.smart_turn import SmartTurn
from serve_app.sound.turns.smart_turn.features import log_mel
from serve_app.sound.voice_activity import FRAME_SAMPLES, RATE_HZ
from tests.nano.with_pauses import with_pauses


@dataclass(slots=True)
class Heard:
    """What all sessions did."""

    frames: float = 0
    waits_s: list[float] = field(default_factory=list)


def thread_s(name: str) -> float:
    """The processor's time of a thread of this process."""
    thread = next(each for each in threading.enumerate() if each.name == name and each.is_alive())
    fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def session(
    number: int, sound: np.ndarray, activity: VoiceActivity, chunk: int, until: float, heard: Heard
) -> None:
    """Speak in chunks of so many samples, at the speed of speech."""
    rng = random.Random(number)
    listener = Listener(ServerVad(), activity, None)
    at = rng.randrange(len(sound) - chunk)
    due = time.monotonic() + rng.random() * chunk / RATE_HZ
    while due < until:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        began = time.monotonic()
        await listener.hear(sound[at : at + chunk])
        heard.waits_s.append(time.monotonic() - began)
        heard.frames += chunk / FRAME_SAMPLES
        due += chunk / RATE_HZ
        at = at + chunk if at + 2 * chunk <= len(sound) else 0


async def measure(sessions: int, chunk_ms: int, seconds: float) -> None:
    activity, heard = VoiceActivity(), Heard()
    sound = with_pauses(6).samples
    thread, loop = thread_s("voice-activity"), time.thread_time()
    until = time.monotonic() + seconds
    chunk = RATE_HZ * chunk_ms // 1000
    await asyncio.gather(
        *(session(each, sound, activity, chunk, until, heard) for each in range(sessions))
    )
    spent_s = thread_s("voice-activity") - thread, time.thread_time() - loop
    vad, event_loop = (100 * each / heard.frames / (FRAME_MS / 1000) for each in spent_s)
    waits = sorted(heard.waits_s)
    print(
        f"{sessions} sessions, chunks of {chunk_ms} ms: {vad:.3f} % of a core a session in the "
        f"thread, {event_loop:.3f} % in the event loop; hear() "
        f"p50 {1e3 * waits[len(waits) // 2]:.1f}, p99 {1e3 * waits[len(waits) * 99 // 100]:.1f} ms"
    )
    activity.close()
    await asyncio.sleep(0.1)


def question_ms() -> tuple[float, float]:
    """Milliseconds of the thread's time: a question, and of that its spectrogram. Medians."""
    model, sound = SmartTurn(), with_pauses(3).samples[: 8 * RATE_HZ]
    whole, features = [], []
    for _ in range(9):
        began = time.thread_time()
        log_mel(sound)
        features.append(time.thread_time() - began)
        began = time.thread_time()
        model(sound)
        whole.append(time.thread_time() - began)
    return 1e3 * statistics.median(whole), 1e3 * statistics.median(features)


def main(
    sessions: Annotated[tuple[int, int], typer.Option(help="How many at a time.")] = (20, 100),
    seconds: float = 20.0,
) -> None:
    """Print what voice activity and Smart Turn cost."""
    for count in sessions:
        for chunk_ms in (20, 100):
            asyncio.run(measure(count, chunk_ms, seconds))
    whole, features = question_ms()
    print(f"a question: {whole:.0f} ms of a core, {features:.0f} of them for the spectrogram")


if __name__ == "__main__":
    typer.run(main)
