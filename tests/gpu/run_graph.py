"""Measure the served graph on one GPU in one call: `python -m tests.gpu.run_graph`.

It writes a checkpoint of random weights, starts Ray and the graph with both stages on the one
GPU, and drives it over HTTP as a client would. Every phase has a time limit and the whole has a
budget; after every phase all results so far lie in `graph.json`. `--device cpu --size tiny`
rehearses the same on a machine without a GPU.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from serve_app.bench import metrics
from serve_app.bench.environment import PACKAGES
from serve_app.bench.inputs import SpeechInput, recordings
from serve_app.bench.overhead import measure_overhead
from serve_app.bench.report import write_json
from tests.gpu import no_multicast
from tests.gpu.gpu_memory import GpuSampler, describe_gpu, processes
from tests.gpu.graph_config import GB, SPEECH, Plan, app_config
from tests.gpu.graph_load import Load, Phase
from tests.gpu.graph_server import GraphServer, Spec, StartFailed, free_port
from tests.gpu.graph_table import print_table
from tests.gpu.plugin_entry import make_plugins_known

PHASES = (
    "first",
    "together",
    "single",
    "variants",
    "thinker",
    "loops",
    "closed",
    "listeners",
    "poisson",
    "speech",
    "alone",
    "client",
)
MAKE_CHECKPOINT = """
import sys; from pathlib import Path; from serve_app.checkpoint import make_checkpoint
make_checkpoint(Path(sys.argv[1]), size=sys.argv[2], llm_weights=sys.argv[2] == "tiny")
"""
ENVIRONMENT = (
    no_multicast.ENVIRONMENT
    | {  # what vLLM and transformers read; inherited by every process
        "VLLM_USE_FLASHINFER_SAMPLER": str(int(find_spec("flashinfer") is not None)),
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
)
MIN_PHASE_S = 5.0
STOP_S = 20.0  # of the budget, kept for the end
BASELINE_S = 0.6  # two samples of the GPU that nobody uses yet
SETTLE_S = 2.0  # after a phase that was cut: the server drops what was in flight
LOG_BYTES = 12 << 20
RECORDINGS = 192  # more than are sent: the server would know one that came before
LOADED_FOR_S = 1.0  # before the loops are watched


@dataclass(slots=True)
class Run:
    """Everything that is known so far; written after every phase."""

    options: dict[str, Any]
    out: Path
    began_s: float = field(default_factory=time.monotonic)
    document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.document |= {
            "benchmark": "graph",
            "command": ["python", "-m", "tests.gpu.run_graph", *sys.argv[1:]],
            "options": self.options,
            "gpu": describe_gpu(),
            "cpus": os.cpu_count(),
            "environment": {n: v for n, v in os.environ.items() if n.startswith("VLLM_")},
            "packages": {name: found for name in PACKAGES if (found := _version(name))},
            "definitions": metrics.__doc__,
            "seconds": {},
            "phases": [],
            "failure": None,
        }

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s

    @property
    def left_s(self) -> float:
        return self.options["budget"] - STOP_S - self.elapsed_s

    def say(self, text: str) -> None:
        print(f"[{self.elapsed_s:6.1f} s] {text}", flush=True)

    def write(self) -> None:
        write_json(self.out / "graph.json", self.document)


def main() -> int:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    shown = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    run = Run(shown, options.out)
    sampler = GpuSampler()
    sampler.start()
    time.sleep(BASELINE_S)
    run.document["gpu_mib_before"] = sampler.peak_mib()
    with tempfile.TemporaryDirectory(prefix="graph-") as scratch:
        work = Path(scratch)
        make_plugins_known(work / "site")
        try:
            with ThreadPoolExecutor(1) as beside, _served(run, options, work, beside) as served:
                server, spoken = served
                run.document["memory_after_start"] = {
                    "used_mib": sampler.peak_mib(time.monotonic() - 1),
                    "processes": processes(),
                }
                run.write()
                with asyncio.Runner(loop_factory=_fast_loop) as runner:
                    runner.run(_measure(run, options, server, spoken, sampler))
        except (StartFailed, ValueError, OSError) as error:
            run.say(f"FAILED: {error}")
            run.document["failure"] = str(error)
        finally:
            sampler.stop()
            run.document["peak_gpu_mib"] = sampler.peak_mib()
            run.document["peaks_by_gpu_mib"] = sampler.peaks_mib()
            run.document["seconds"]["whole"] = round(run.elapsed_s, 1)
            run.write()
            _keep_ray_logs(options.out)
    print_table(run.document)
    return 0 if _passed(run.document) else 1


def _prepare_client(spoken: bool) -> list[SpeechInput]:
    """What would else be measured with the server: a process's first request costs it 30 ms."""
    asyncio.run(measure_overhead(1))
    if not spoken:
        return []
    return [one for seed in range(0, RECORDINGS, 3) for one in recordings((), seed)]


@contextmanager
def _served(
    run: Run, options: argparse.Namespace, work: Path, beside: ThreadPoolExecutor
) -> Iterator[tuple[GraphServer, list[SpeechInput]]]:
    """The graph, ready, for as long as the block lasts; and what can be said to it."""
    gpu = run.document["gpu"]
    if options.device == "cuda" and gpu is None:
        raise StartFailed("nvidia-smi names no GPU here")
    model = options.model or work / "model"
    plan = Plan(
        str(model),
        options.device,
        options.size == "full",
        gpu_bytes=gpu["memory_mib"] << 20 if gpu else 0,
        limit_bytes=int(options.memory_gb * GB) if options.memory_gb else None,
        max_streams=options.max_streams,
        fp8=options.fp8,
        speech=options.speech,
        config=str(options.config) if options.config else None,
    )
    run.document["configuration"] = app_config(plan).model_dump(mode="json")
    spec = Spec(
        plan,
        free_port(),
        checkpoint_within_s=options.start_limit,
        num_cpus=max(16, os.cpu_count() or 1),
    )
    making = None
    if not (model / "config.json").exists():
        command = [sys.executable, "-c", MAKE_CHECKPOINT, str(model), options.size]
        making = subprocess.Popen(command)

    def check() -> None:
        if making is not None and making.poll():
            raise StartFailed(f"the checkpoint could not be written: {making.returncode}")

    proxies = ("haproxy", "python") if options.proxy == "auto" else (options.proxy,)
    server = GraphServer(spec, work, options.out / "server.log", proxies)
    preparing = beside.submit(_prepare_client, "speech" in options.phases)
    run.say("starting")
    try:
        server.wait_ready(min(options.start_limit, run.left_s), check)
        run.say(f"ready, HTTP through {server.proxy}")
        yield server, preparing.result()
    finally:
        at_0 = time.time() - run.elapsed_s
        run.document["proxy"] = server.proxy
        run.document["seconds"] |= {
            " ".join(str(event[k]) for k in ("event", "stage") if k in event): round(
                event["at"] - at_0, 1
            )
            for event in server.events
        }
        run.say("stopping")
        server.stop()
        if making is not None and making.poll() is None:
            making.kill()


async def _measure(
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
        done = await measure(within_s)
        run.document["phases"].append(
            {
                "kind": kind,
                **done.document(),
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
    for clients in options.alone_levels:
        name = f"graph alone, {clients} together"
        if clients == 1:
            await phase("alone", partial(alone.one_by_one, name, short, 50, warm_up=5))
        else:
            await phase("alone", partial(alone.together, name, short, clients, warm_up=True))
    await phase("client", partial(load.client_alone, max(options.levels)))


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
    ttfa = metrics.percentiles(trace.ttfa_s for trace in good)
    if not phase.traces:
        return f"{phase.name}: {phase.wall_s:.1f} s {trouble}"
    told = f"TTFA p50 {1000 * ttfa.p50:.0f} ms" if ttfa else "no answer"
    return (
        f"{phase.name}: {len(good)} of {len(phase.traces)} answered, {told}, "
        f"{phase.wall_s:.1f} s {trouble}"
    )


def _passed(document: dict[str, Any]) -> bool:
    """Whether every phase ran to its end and every answer was whole."""
    phases = document["phases"]
    return (
        bool(phases)
        and not document["failure"]
        and not any(
            phase.get("error")
            or phase.get("cut_after_s")
            or phase.get("answers_of_wrong_length")
            or (phase.get("summary") or {}).get("failed")
            for phase in phases
        )
    )


def _keep_ray_logs(out: Path) -> None:
    """What the replicas wrote themselves, newest first, up to a size."""
    logs = Path("/tmp/ray/session_latest/logs").resolve()
    files = [p for p in logs.rglob("*") if p.is_file() and p.suffix in (".log", ".err", ".out")]
    files.sort(key=lambda path: -path.stat().st_mtime)
    kept = 0
    with tarfile.open(out / "ray_logs.tar.gz", "w:gz") as archive:
        for path in files:
            kept += path.stat().st_size
            if kept > 4 * LOG_BYTES:  # text: a quarter or less of it once compressed
                return
            archive.add(path, str(path.relative_to(logs)))


def _fast_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",") if part]

    add = parser.add_argument
    add("--size", choices=("tiny", "full"), default="full")
    add("--device", choices=("cuda", "cpu"), default="cuda")
    add("--model", type=Path, help="a model directory, made if empty; default: a temporary one")
    add("--out", type=Path, default=Path(os.environ.get("OUT", "build/graph")))
    add("--config", type=Path, help="measure this configuration; random weights, forced answers")
    add("--speech", choices=SPEECH, default="weights", help="what makes random weights speak")
    add("--fp8", action="store_true", help="the Thinker's decoder in fp8")
    add("--memory-gb", type=float, help="bound both stages together, in 10^9 bytes")
    add("--proxy", choices=("auto", "haproxy", "python"), default="auto")
    add("--phases", default=",".join(PHASES), type=lambda t: t.split(","), help="which to run")
    add("--tokens", type=numbers, default=[85, 160, 315, 1024], help="of single requests")
    add("--runs", type=int, default=3, help="of each single request, after a warm-up")
    add("--together", type=numbers, default=[16, 315], help="requests at once, their tokens")
    add("--variants", type=json.loads, default=[], help="JSON: a list of fields of requests")
    add("--thinker-levels", type=numbers, default=[1, 16, 128], help="requests, Thinker alone")
    add("--watched", type=int, default=64, help="clients while event loops are watched")
    add("--levels", type=numbers, default=[1, 16, 64, 128, 192], help="clients of closed loops")
    add("--listeners", type=numbers, default=[128, 192], help="clients that hear answers out")
    add("--rates", type=numbers, default=[], help="Poisson arrivals a second")
    add("--speech-levels", type=numbers, default=[16], help="clients that ask by speech")
    add("--alone-levels", type=numbers, default=[1, 16, 64], help="on the graph without models")
    add("--mix", type=numbers, default=[85, 160, 160, 315, 315], help="tokens under load")
    add("--seconds", type=float, default=20.0, help="in which a load sends requests")
    add("--limit", type=float, default=60.0, help="seconds that one phase may take")
    add("--start-limit", type=float, default=240.0, help="seconds until the graph must be ready")
    add("--budget", type=float, default=540.0, help="seconds that everything may take")
    add("--max-streams", type=int, default=256, help="that the server is sized for")
    options = parser.parse_args()
    if unknown := set(options.phases) - set(PHASES):
        parser.error(f"--phases: {', '.join(sorted(unknown))} not among {', '.join(PHASES)}")
    if len(options.together) != 2:
        parser.error("--together takes two numbers: requests, tokens")
    return options


if __name__ == "__main__":
    sys.exit(main())
