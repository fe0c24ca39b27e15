"""Measure the served graph on one GPU in one call: `python -m tests.benchmarks.run_graph`.

It writes a checkpoint of random weights, starts Ray and the graph with both stages on the one
GPU, and drives it over HTTP as a client would. Every phase has a time limit and the whole has a
budget; after every phase all results so far lie in `graph.json`. `--device cpu --size tiny`
rehearses the same on a machine without a GPU.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deployments.heap import settle_heap
from serve_app.bench.inputs import SpeechInput, recordings
from serve_app.bench.overhead import measure_overhead
from serve_app.commands.serving.listeners import free_port
from tests.benchmarks import no_multicast
from tests.benchmarks.gpu_memory import GpuSampler, processes
from tests.benchmarks.graph_config import GB, Plan, app_config
from tests.benchmarks.graph_options import parse_options
from tests.benchmarks.graph_phases import measure
from tests.benchmarks.graph_run import Run
from tests.benchmarks.graph_server import GraphServer, Spec, StartFailed
from tests.benchmarks.graph_table import print_table
from tests.benchmarks.plugin_entry import make_plugins_known

MAKE_CHECKPOINT = """
import sys; from pathlib import Path; from serve_app.checkpoint import make_checkpoint
make_checkpoint(Path(sys.argv[1]), size=sys.argv[2], llm_weights=sys.argv[2] == "tiny")
"""
# What vLLM and transformers read; inherited by every process.
ENVIRONMENT = {
    **no_multicast.ENVIRONMENT,
    "VLLM_USE_FLASHINFER_SAMPLER": str(int(find_spec("flashinfer") is not None)),
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
BASELINE_S = 0.6  # two samples of the GPU that nobody uses yet
LOG_BYTES = 12 << 20
RECORDINGS = 192  # more than are sent: the server would know one that came before


def main() -> int:
    options = parse_options(__doc__)
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
                settle_heap()  # the client's: its full collections take 0.14 s
                with asyncio.Runner(loop_factory=_fast_loop) as runner:
                    runner.run(measure(run, options, server, spoken, sampler))
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
        mps=tuple(options.mps) if options.mps else None,
        voice_store=str(work / "voices"),
        token2wav=options.token2wav,
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


if __name__ == "__main__":
    sys.exit(main())
