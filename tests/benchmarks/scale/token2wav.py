"""CPU time and memory of Token2Wav's schedule and admission, the engine's work apart."""

import asyncio
import math
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from deployments.token2wav.admission import Admission
from deployments.token2wav.configured_voices import VoiceRecording
from deployments.token2wav.schedule import Listener, held_until_s, next_batch
from deployments.token2wav.synthesizer import BatchingSynthesizer
from deployments.token2wav.token2wav_config import Token2WavConfig
from tests.benchmarks.scale.router import STREAMS_A_REPLICA
from tests.unit.deployments.token2wav import test_overload as overload
from tests.unit.deployments.token2wav.virtual_time import VirtualRunner, run_virtually

STEPS_A_S = 1 / overload.STEP_S[overload.MAX_BATCH]  # of a full server
CALLS = 30
ARRIVE_WITHIN_S = 6.0


class Row(NamedTuple):
    """A chunk that waits."""

    listener: Listener
    arrived_s: float


def one_replica(streams: list[int]) -> list[dict[str, Any]]:
    """What a decision costs where one replica has all of the streams."""
    return [_decisions(count) for count in streams]


def _decisions(streams: int) -> dict[str, Any]:
    admission = Admission(1)
    for step in range(16):
        admission.note_step(32, 32.0, 0.01, float(step))
    listeners = [_playing(number) for number in range(streams)]
    rows = [Row(one, 19.9) for one in listeners]
    newcomer = Listener(20.0)
    step_ms = _ms(
        lambda: (
            held_until_s(rows, 19.95, 20.0),
            next_batch(rows, 20.0, open_streams=streams, max_batch=overload.MAX_BATCH),
        )
    )
    admission_ms = _ms(lambda: admission.fits(listeners, newcomer, 20.0, late=False))
    return {
        "streams": streams,
        "admission_ms": round(admission_ms, 4),
        "headroom_ms": round(_ms(lambda: admission.time_left(listeners, 20.0)), 4),
        "step_ms": round(step_ms, 4),
        "processors_for_steps": round(step_ms * STEPS_A_S / 1000, 4),
        "kib_a_stream": round(run_virtually(_kib_a_stream(min(streams, 1000))), 2),
    }


def _playing(number: int) -> Listener:
    """One in the midst of an answer, whose sound lasts up to a second longer."""
    listener = Listener(10.0)
    for at_s in range(10, 20):
        listener.sent(1.0, float(at_s))
    listener.sent(number % 100 / 100, 19.5)
    return listener


def _ms(call: Callable[[], object]) -> float:
    began_s = time.process_time()
    for _ in range(CALLS):
        call()
    return 1000 * (time.process_time() - began_s) / CALLS


async def _kib_a_stream(streams: int) -> float:
    """Python's objects of streams that are open; the engine's memory is not among them."""
    synthesizer = await _started(overload.Anybody)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    opened = [await synthesizer.open(None) for _ in range(streams)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for one in opened:
        one.close()
    synthesizer.close()
    return (after - before) / 1024 / streams


async def _started(admission: Callable[[int | None], Admission]) -> BatchingSynthesizer:
    engine = overload.Engine()
    engine.max_streams = 20_000
    synthesizer = BatchingSynthesizer(
        lambda: engine,
        {"default": VoiceRecording(Path("voice.wav"), b"", seconds=6.0)},
        Token2WavConfig().schedule,
        max_batch=overload.MAX_BATCH,
        cached_voices=1,
        admission=admission,
        runner=lambda name: VirtualRunner(engine),
        now_s=asyncio.get_running_loop().time,
    )
    await synthesizer.start()
    return synthesizer


def cluster(streams: list[int]) -> list[dict[str, Any]]:
    """So many listeners over as many replicas as they need, in virtual time.

    Each replica has its schedule and its admission, over steps that cost what an H200's did.
    """
    rows = []
    for count in streams:
        began_s = time.process_time()
        heard, replicas = run_virtually(_listened(count))
        took_s = time.process_time() - began_s
        rows.append(
            {
                "listeners": count,
                "replicas": replicas,
                "refused": heard.refused,
                "with_a_gap": heard.with_a_gap,
                "first_sound_max_s": round(max(heard.first_sound_s), 3),
                "cpu_ms_an_answer": round(1000 * took_s / count, 3),
            }
        )
    return rows


async def _listened(listeners: int) -> tuple[overload.Heard, int]:
    heard = overload.Heard()
    replicas = [await _started(Admission) for _ in range(math.ceil(listeners / STREAMS_A_REPLICA))]
    for replica in replicas:  # so that each knows what a step costs
        await asyncio.gather(*(overload.listen(replica, overload.Heard(), 0.0) for _ in range(16)))
    await asyncio.gather(
        *(
            overload.listen(replicas[i % len(replicas)], heard, ARRIVE_WITHIN_S * i / listeners)
            for i in range(listeners)
        )
    )
    for replica in replicas:
        replica.close()
    return heard, len(replicas)
