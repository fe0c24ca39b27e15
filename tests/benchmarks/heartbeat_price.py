"""What heartbeats and the watch cost a text when nothing fails: `python -m …heartbeat_price`.

A Thinker with a fake engine answers through Ray Serve. Each text is asked for twice, in a random
order: with heartbeats and a watch, and without. CPU is that of the caller and of the replica.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import tests.conftest  # isort: skip  # noqa: F401  # first: Ray Serve reads its switches at import

import psutil
import ray
from ray import serve

from deployments.liveness.watch import Watch
from deployments.messages import ThinkerRequest
from deployments.resume import Policy, Tries, WrittenProgress, resumed
from deployments.thinker import tasks
from tests.integration.graph.conftest import fake_graph, replica_record, served

LETTERS = 50  # a delta each
BLOCK = 20  # texts at a time: the system counts a process's CPU in steps of 10 ms
POLICY = Policy(lambda error: False, lambda error, tries: None, 10.0)
MEDIAN_Z = 0.98  # 95 % of the binomial, as a share of the root of the count: the median's ranks


async def unwatched(call: Any, request: ThinkerRequest) -> Any:
    deltas = call(request)
    try:
        async for delta in deltas:
            yield delta
    finally:
        deltas.cancel()


async def ask(call: Any, watch: Watch | None) -> float:
    """Seconds to the first delta of one text."""
    request = ThinkerRequest("price", tasks.converse("x" * LETTERS))
    progress = WrittenProgress(request)

    def begin() -> Any:
        asked = progress.request()
        return watch.over(call, asked) if watch else unwatched(call, replace(asked, beats=False))

    began_s, first_s = time.perf_counter(), 0.0
    async with aclosing(resumed(begin, progress, Tries(3), POLICY)) as deltas:
        async for _ in deltas:
            first_s = first_s or time.perf_counter() - began_s
    return first_s


async def measure(call: Any, processes: list[psutil.Process], blocks: int) -> dict[str, Any]:
    watch = Watch(2.0)
    cpu_ms: dict[str, list[float]] = {"with": [], "without": []}
    first_ms: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(blocks):
        for kind in random.sample(list(cpu_ms), 2):
            before_s = spent_s(processes)
            for _ in range(BLOCK):
                first_s = await ask(call, watch if kind == "with" else None)
                first_ms[kind].append(1e3 * first_s)
            cpu_ms[kind].append(1e3 * (spent_s(processes) - before_s) / BLOCK)
    return {
        "pairs": blocks * BLOCK,
        "cpu_ms_a_text": {kind: statistics.mean(values) for kind, values in cpu_ms.items()},
        "cpu_ms_more": difference(cpu_ms),
        "first_delta_ms": {kind: statistics.median(values) for kind, values in first_ms.items()},
        "first_delta_ms_more": difference(first_ms),
    }


def spent_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def difference(values: dict[str, list[float]]) -> dict[str, float]:
    """The median of the paired differences, and the ends of its 95 % interval."""
    more = sorted(a - b for a, b in zip(values["with"], values["without"], strict=True))
    wide = MEDIAN_Z * len(more) ** 0.5
    middle = len(more) / 2
    low, high = more[max(0, int(middle - wide))], more[min(len(more) - 1, int(middle + wide))]
    return {"median": statistics.median(more), "low": low, "high": high}


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--blocks", type=int, default=50, help=f"of {BLOCK} pairs")
    blocks = options.parse_args().blocks
    ray.init(num_cpus=8, log_to_driver=False, include_dashboard=False)
    serve.start(http_options={"location": "NoServer"})
    try:
        with served(fake_graph()) as name:
            handle = serve.get_deployment_handle("Thinker", name)
            call = handle.options(stream=True, _by_reference=False).generate.remote
            replica = psutil.Process(replica_record("Thinker", name)["Pid"])
            await ask(call, None)
            print(json.dumps(await measure(call, [psutil.Process(os.getpid()), replica], blocks)))
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
