"""A configuration of several GPUs, on GPUs that Ray only counts.

    python -m tests.benchmarks.run_layout configs/four_gpus.yaml --nodes 4 --out layout.json

It shows where the replicas are, who gets the streams, and what a death costs. Starts
`cluster/local_nodes.py` with a node for each GPU and engines that answer at once. Each node
must hold one replica of each stage, streams must be spread evenly, and each must have every sample
once while a replica of either stage is killed. It says nothing of a GPU's speed.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tests.conftest  # isort: skip  # noqa: F401  # first: Ray Serve reads its switches at import

import httpx
import numpy as np
import ray
import yaml
from ray._private.state import actors

from deployments.thinker.fake import audio_tokens_of
from serve_app.commands.serving.listeners import free_port
from serve_app.whole_files import write_whole
from tests.integration.graph.conftest import speech_body
from tests.places import ROOT

STAGES = ("Thinker", "Token2Wav")
STREAMS_PER_NODE = 8
SECONDS_PER_DELTA = 0.5  # so that a stream lasts while its replicas are looked at
TEXT = "a sentence that is long enough to be spoken for some seconds, number "
CPUS_PER_NODE = 8
READY_WITHIN_S = 900.0
MOST_UNEVEN = 1.25  # streams of the fullest replica over the mean
CLUSTER_AT = re.compile(r"nodes at (\S+)")


@dataclass(frozen=True)
class Layout:
    """A server of the configuration."""

    url: str
    log: Path

    @property
    def cluster(self) -> str:
        return CLUSTER_AT.findall(self.log.read_text())[0]


def with_fakes(source: Path, folder: Path, port: int) -> dict[str, Any]:
    """The configuration with engines that need no GPU, and folders of its own."""
    document = yaml.safe_load(source.read_text(encoding="utf-8"))
    document["http_options"] = {"host": "127.0.0.1", "port": port}
    arguments = document["applications"][0]["args"]
    arguments |= {"model": "none", "voice_store": str(folder / "voices")}
    arguments["thinker"] |= {
        "engine": "fake",
        "engine_kwargs": {"seconds_per_delta": SECONDS_PER_DELTA},
    }
    arguments["token2wav"] |= {"engine": "fake"}
    turns = {"spoken_turns_folder": str(folder / "turns"), "models": ["step-audio-2-mini"]}
    arguments["http"] = arguments.get("http", {}) | turns
    return document


@contextmanager
def running(config: Path, nodes: int) -> Iterator[Layout]:
    """The cluster and the server, until the block ends."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        (folder / "served.yaml").write_text(yaml.safe_dump(with_fakes(config, folder, port)))
        counted = ["--nodes", str(nodes), "--gpus", "1", "--cpus", str(CPUS_PER_NODE)]
        command = [sys.executable, "cluster/local_nodes.py", str(folder / "served.yaml"), *counted]
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        own |= {"PYTHONPATH": str(ROOT), "STEP_AUDIO2_SPOKEN_TURN_KEYS": "k" * 32}
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=output, stderr=output)
        try:
            yield Layout(f"http://127.0.0.1:{port}", log)
        except BaseException:
            print(log.read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait()


def replicas(stage: str) -> list[dict[str, Any]]:
    """What Ray's control store knows of a stage's replicas that run."""
    alive = [one for one in actors().values() if one["State"] == "ALIVE"]
    return [one for one in alive if f"#{stage}#" in (one["Name"] or "")]


def requests_of(replica: dict[str, Any]) -> Any:
    actor = ray.get_actor(replica["Name"], namespace="serve")
    return actor.__ray_call__.remote(lambda one: one._replica_impl.get_num_ongoing_requests())


async def until_ready(layout: Layout, nodes: int) -> float:
    """Wait for every replica; the seconds that it took."""
    began_s = time.monotonic()
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                healthy = (await client.get(f"{layout.url}/health")).status_code == 200
            except httpx.HTTPError:
                healthy = False
            if healthy:
                break
            if time.monotonic() - began_s > READY_WITHIN_S:
                raise TimeoutError("the server did not become ready")
            await asyncio.sleep(1)
    ray.init(address=layout.cluster, log_to_driver=False, logging_level="ERROR")
    while any(len(replicas(stage)) < nodes for stage in STAGES):
        if time.monotonic() - began_s > READY_WITHIN_S:
            raise TimeoutError("not every replica runs")
        await asyncio.sleep(1)
    return time.monotonic() - began_s


def placement() -> dict[str, dict[str, int]]:
    """How many replicas of each stage each node has."""
    found: dict[str, Counter[str]] = {}
    for stage in STAGES:
        for one in replicas(stage):
            found.setdefault(one["Address"]["NodeID"], Counter())[stage] += 1
    return {node: dict(counts) for node, counts in found.items()}


async def heard(client: httpx.AsyncClient, url: str, text: str, begun: asyncio.Event) -> str:
    """Listen to one answer: exact, or what was wrong with it."""
    expected = np.repeat(audio_tokens_of(text), 960).astype("<i2").tobytes()
    sound = b""
    try:
        async with client.stream("POST", f"{url}/v1/audio/speech", json=speech_body(text)) as one:
            if one.status_code != 200:
                return str(one.status_code)
            async for piece in one.aiter_raw():
                sound += piece
                begun.set()
    except httpx.HTTPError as error:
        return type(error).__name__
    finally:
        begun.set()
    return "exact" if sound == expected else "wrong"


async def trial(layout: Layout, nodes: int) -> dict[str, Any]:
    """Streams on all replicas; one of each stage is killed meanwhile."""
    count = STREAMS_PER_NODE * nodes
    limits = httpx.Limits(max_connections=count + 8)
    async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as client:
        begun = [asyncio.Event() for _ in range(count)]
        listeners = [
            asyncio.ensure_future(heard(client, layout.url, f"{TEXT}{number}", event))
            for number, event in enumerate(begun)
        ]
        await asyncio.gather(*(event.wait() for event in begun))
        spread, busiest = {}, {}
        for stage in STAGES:
            found = replicas(stage)
            requests = await asyncio.gather(*map(requests_of, found))
            spread[stage] = sorted(requests)
            busiest[stage] = found[requests.index(max(requests))]["Pid"]
        for pid in busiest.values():
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(1)
        outcomes = Counter(await asyncio.gather(*listeners))
    return {"streams": count, "spread": spread, "outcomes": dict(outcomes)}


def failures_of(figures: dict[str, Any], nodes: int) -> list[str]:
    failures = []
    one_of_each = dict.fromkeys(STAGES, 1)
    placed = list(figures["placement"].values())
    if placed != [one_of_each] * nodes or list(figures["again"].values()) != placed:
        failures.append("a node does not hold one replica of each stage")
    for stage, requests in figures["spread"].items():
        if max(requests) > MOST_UNEVEN * statistics.mean(requests):
            failures.append(f"the streams of {stage} are not spread evenly: {requests}")
    if figures["outcomes"] != {"exact": figures["streams"]}:
        failures.append(f"not every answer was exact: {figures['outcomes']}")
    return failures


async def measured(config: Path, nodes: int) -> dict[str, Any]:
    with running(config, nodes) as layout:
        figures: dict[str, Any] = {"config": config.name, "nodes": nodes}
        figures["ready_s"] = round(await until_ready(layout, nodes), 1)
        figures["placement"] = placement()
        figures |= await trial(layout, nodes)
        while any(len(replicas(stage)) < nodes for stage in STAGES):
            await asyncio.sleep(1)
        figures["again"] = placement()  # with the replicas that came for the dead ones
        ray.shutdown()
        return figures


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", type=Path)
    options.add_argument("--nodes", type=int, required=True, help="one for each GPU")
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    figures = asyncio.run(measured(chosen.config, chosen.nodes))
    figures["failures"] = failures_of(figures, chosen.nodes)
    text = json.dumps(figures, indent=1)
    print(text)
    if chosen.out:
        write_whole(chosen.out, f"{text}\n".encode())
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
