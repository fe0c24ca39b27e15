"""The phases of a run of `run_graph`, one after another, each with a time limit."""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from serve_app.bench import measures
from serve_app.bench.inputs import SpeechInput
from tests.benchmarks import graph_deaths, graph_voices, run_hostile
from tests.benchmarks.first_sound import first_sound
from tests.benchmarks.gpu_memory import GpuSampler
from tests.benchmarks.graph_config import MODEL
from tests.benchmarks.graph_load import Load, Phase, expected_audio_s
from tests.benchmarks.graph_run import Run
from tests.benchmarks.graph_server import GraphServer
from tests.benchmarks.hostile_clients import ALOUD, CHAT, Server
from tests.benchmarks.hostile_sounds import hostile_sounds
from tests.benchmarks.step_log import steps_from, summarize_steps

MIN_PHASE_S = 5.0
SETTLE_S = 2.0  # after a phase that was cut: the server drops what was in flight
STEPS_WITHIN_S = 10.0
LOADED_FOR_S = 1.0  # before the loops are watched
HOSTILE_CLIENTS = 8
ONE_BY_ONE = ("first", "single")


async def measure(
    run: Run,
    options: argparse.Namespace,
    server: GraphServer,
    spoken: list[SpeechInput],
    sampler: GpuSampler,
) -> None:
    url = server.url
    load = Load(url)
    alone = Load(f"{url}/alone", exact=False)
    tokens, mix, seconds, limit = options.tokens, options.mix, options.seconds, options.limit

    async def phase(kind: str, measure: Callable[[float], Awaitable[Phase]]) -> None:
        if kind not in options.phases:
            return
        within_s = min(limit, run.left_s)
        if within_s < MIN_PHASE_S:
            run.document["phases"].append({"phase": kind, "error": "no time was left"})
            return
        since_s = time.monotonic()
        await _steps(server)  # of what was before
        done = await measure(within_s)
        steps = await _steps(server)
        run.keep_steps(done.name, steps)
        logged = steps_from(steps)
        shares = first_sound(done.traces, logged) if kind in ONE_BY_ONE else None
        run.document["phases"].append(
            {
                "kind": kind,
                **done.document(),
                "steps": asdict(summarize_steps(logged)) if logged else None,
                "first_sound": asdict(shares) if shares else None,
                "peak_gpu_mib": sampler.peak_mib(since_s),
                "gpu_busy_percent": sampler.mean_busy_percent(since_s),
            }
        )
        run.write()
        run.say(_one_line(done))
        if done.cut_after_s:
            await asyncio.sleep(SETTLE_S)

    short = min(tokens)
    await phase("first", partial(alone.one_by_one, "first, no models", short, 10, warm_up=0))
    await phase("first", partial(load.one_by_one, "first ten", short, 10, warm_up=0))
    count, n = options.together
    # the first time without a warm-up: the server must have met batches of that size by itself
    for name in (f"{count} together, {n}, first time", f"{count} together, {n} tokens"):
        await phase("together", partial(load.together, name, n, count, warm_up=False))
    for one_length in tokens:
        name = f"single, {one_length} tokens"
        await phase("single", partial(load.one_by_one, name, one_length, options.runs, warm_up=1))
    for body in options.variants:
        other, what = Load(url, body=body), _spell(body)
        single = partial(other.one_by_one, f"single, {n}, {what}", n, 2, warm_up=0)
        await phase("variants", single)
        many = partial(other.together, f"{count} at once, {n}, {what}", n, count, warm_up=False)
        await phase("variants", many)
    for sampling in ({}, *options.variants):
        for requests in options.thinker_levels:
            await phase("thinker", partial(_thinker, server, requests, n, sampling))
    await phase("loops", partial(_loops, server, load, mix, options.watched, seconds))
    for clients in options.bursts:
        name = f"burst, {clients} of {n}"
        await phase("bursts", partial(load.together, name, n, clients, warm_up=False))
    for clients in options.levels:
        name = f"closed loop, {clients}"
        await phase("closed", partial(load.closed_loop, name, mix, clients, seconds))
    for clients in options.listeners:
        name = f"listeners, {clients}"
        await phase("listeners", partial(load.listeners, name, mix, clients, seconds))
    for rate in options.rates:
        await phase("poisson", partial(load.poisson, f"Poisson, {rate}/s", mix, rate, seconds))
    hearing = Load(url, recordings=spoken)
    name = f"speech in, {short} tokens"
    await phase("speech", partial(hearing.one_by_one, name, short, 5, warm_up=1))
    for clients in options.speech_levels:
        name = f"speech in, closed loop, {clients}"
        await phase("speech", partial(hearing.closed_loop, name, mix, clients, seconds))
    count = min(options.listeners)
    for beside in (False, True):
        name = f"listeners, {count}, {'' if beside else 'no '}voices prepared beside them"
        await phase("voices", partial(_voices, name, url, load, mix, count, seconds, beside))
    await phase("hostile", partial(_hostile, url, short, options.watched, seconds))
    for clients in options.alone_levels:
        name = f"graph alone, {clients} together"
        if clients == 1:
            await phase("alone", partial(alone.one_by_one, name, short, 50, warm_up=5))
        else:
            await phase("alone", partial(alone.together, name, short, clients, warm_up=True))
    await phase("client", partial(load.client_alone, max(options.levels)))
    for stage in graph_deaths.TITLES:
        await phase("deaths", partial(_death, stage, url, load, short))


async def _steps(server: GraphServer) -> list[dict[str, Any]]:
    """Token2Wav's steps since the last time; none where it does not answer."""
    try:
        taken: list[dict[str, Any]] = await server.ask("steps", STEPS_WITHIN_S)
    except (RuntimeError, TimeoutError):
        return []
    return taken


async def _thinker(
    server: GraphServer, requests: int, tokens: int, sampling: dict[str, Any], limit_s: float
) -> Phase:
    """The Thinker alone, by its handle, on the same GPU and in the same minute."""
    what = f"Thinker alone, {requests} × {tokens}" + (f", {_spell(sampling)}" if sampling else "")
    asked = {"requests": requests, "tokens": tokens, "sampling": sampling, "salt": what}

    async def ask() -> dict[str, Any]:
        return {"thinker": await server.ask("thinker", limit_s, **asked)}

    return await _asked(what, ask)


async def _loops(
    server: GraphServer, load: Load, mix: list[int], clients: int, seconds: float, limit_s: float
) -> Phase:
    """A closed loop of `clients`, and what holds the replicas' event loops up meanwhile."""
    name = f"loops watched, {clients}"
    loading = asyncio.create_task(load.closed_loop(name, mix, clients, seconds, limit_s))
    await asyncio.sleep(LOADED_FOR_S)

    async def ask() -> dict[str, Any]:
        watched_s = max(1.0, seconds - LOADED_FOR_S)
        return {"loops": await server.ask("loops", limit_s, seconds=watched_s)}

    watched = await _asked(name, ask)
    phase = await loading
    phase.notes, phase.error = watched.notes, phase.error or watched.error
    return phase


async def _voices(
    name: str,
    url: str,
    load: Load,
    mix: list[int],
    count: int,
    seconds: float,
    beside: bool,
    limit_s: float,
) -> Phase:
    """Listeners, and if `beside`, new voices that are prepared one after another meanwhile."""
    listening = asyncio.create_task(load.listeners(name, mix, count, seconds, limit_s))
    if not beside:
        return await listening
    stop_s = time.perf_counter() + seconds
    notes = await graph_voices.upload_until(lambda: time.perf_counter() >= stop_s, url)
    phase = await listening
    phase.notes = notes
    if not notes["voices_prepared"]:
        phase.error = phase.error or "no voice was prepared"
    return phase


async def _death(stage: str, url: str, load: Load, tokens: int, limit_s: float) -> Phase:
    """The SIGKILL of a stage."""

    async def ask() -> dict[str, Any]:
        return await graph_deaths.kill(stage, url, load, tokens, limit_s)

    return await _asked(f"death of {stage}", ask)


async def _hostile(url: str, tokens: int, clients: int, seconds: float, limit_s: float) -> Phase:
    """Honest clients alone, beside hostile recordings and alone again, `seconds` each.

    The phase's error names what did not hold.
    """
    server = Server(url, MODEL, tokens, expected_audio_s(tokens))
    sounds = run_hostile.honest_sounds(kept=False)
    kinds = (CHAT, ALOUD)  # a transcription by random weights ends where the context does
    load = run_hostile.Load(sounds, kinds, clients, hostile_sounds(), HOSTILE_CLIENTS, seconds)

    async def ask() -> dict[str, Any]:
        async with asyncio.timeout(limit_s):
            return await run_hostile.run(server, load)

    phase = await _asked("hostile recordings", ask)
    phase.error = phase.error or "; ".join(phase.notes["failures"]) or None
    return phase


async def _asked(name: str, ask: Callable[[], Awaitable[dict[str, Any]]]) -> Phase:
    """A phase whose result is what the server's process answers."""
    phase, began_s = Phase(name), time.perf_counter()
    try:
        phase.notes = await ask()
    except (RuntimeError, TimeoutError) as error:
        phase.error = f"{type(error).__name__}: {error}"
    phase.wall_s = time.perf_counter() - began_s
    return phase


def _spell(fields: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in fields.items())


def _one_line(phase: Phase) -> str:
    trouble = phase.error or (f"cut after {phase.cut_after_s:.0f} s" if phase.cut_after_s else "")
    good = [trace for trace in phase.traces if trace.ok]
    ttfa = measures.percentiles(trace.ttfa_s for trace in good)
    if not phase.traces:
        return f"{phase.name}: {phase.wall_s:.1f} s {trouble}"
    told = f"TTFA p50 {1000 * ttfa.p50:.0f} ms" if ttfa else "no answer"
    return (
        f"{phase.name}: {len(good)} of {len(phase.traces)} answered, {told}, "
        f"{phase.wall_s:.1f} s {trouble}"
    )
