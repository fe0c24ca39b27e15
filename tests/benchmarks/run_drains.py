"""Listeners while replicas come and go on purpose: `python -m tests.benchmarks.run_drains`.

A Ray of several nodes on this machine serves the graph with engines that answer at once. Under
streams it is updated three times, the second time to a version whose messages all have a field
more, and back; each stage is scaled to four replicas and back to one; and a node is drained. Each
answer must have every sample once, and none may fail. Prints a table and writes JSON.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tests.conftest  # isort: skip  # noqa: F401  # first: Ray Serve reads its switches at import

import httpx
import numpy as np
import ray
from ray import serve
from ray._private.state import actors
from ray.cluster_utils import Cluster
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from deployments.thinker.fake import audio_tokens_of
from serve_app.commands.serving.listeners import free_port
from serve_app.whole_files import write_whole
from tests.integration.graph.conftest import fake_graph, speech_body
from tests.unit.deployments.test_wire import grow

ROOT = Path(__file__).parents[2]
APPLICATION = "step-audio2-drains"
STAGES = ("Thinker", "Token2Wav")
LEAST_LETTERS, MOST_LETTERS = 20, 80  # 4 audio tokens a letter: 3 to 13 s of sound
DRAINED_WITHIN_S = 30
RUNS_WITHIN_S = 300.0


@dataclass
class Listeners:
    """Ask one thing after the other; each answer counts in the phase in which it ends."""

    base_url: str
    streams: int
    seed: int
    phase: str = "start"
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    async def listen_forever(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.base_url, timeout=120, limits=limits) as client:
            draws = (random.Random(f"{self.seed} {number}") for number in range(self.streams))
            await asyncio.gather(*(self._listen(client, draw) for draw in draws))

    async def _listen(self, client: httpx.AsyncClient, draw: random.Random) -> None:
        while True:
            letters = draw.choices("abcdefgh ", k=draw.randint(LEAST_LETTERS, MOST_LETTERS))
            text = f"a{''.join(letters)}b"  # spaces at the ends are not spoken
            began = self.phase
            what = await spoken(client, text)
            self.outcomes.setdefault(self.phase, Counter())[what] += 1
            if what != "exact":
                self.failures.append(f"{began} to {self.phase}: {what}: {text!r}")
                await asyncio.sleep(0.5)


async def spoken(client: httpx.AsyncClient, text: str) -> str:
    """What came of an answer."""
    sound = b""
    try:
        async with client.stream("POST", "/v1/audio/speech", json=speech_body(text)) as answer:
            if answer.status_code != 200:
                return f"{answer.status_code} {(await answer.aread())[:200]!r}"
            async for piece in answer.aiter_raw():
                sound += piece
    except httpx.HTTPError as error:
        return f"{type(error).__name__} after {len(sound)} bytes"
    expected = np.repeat(audio_tokens_of(text), 960).astype("<i2").tobytes()
    return "exact" if sound == expected else f"wrong: {len(sound)} bytes of {len(expected)}"


@dataclass
class Deployed:
    """A configuration of the application, as it is handed to Ray Serve."""

    graph: dict[str, Any]
    replicas: dict[str, int]
    checkout: Path = ROOT

    def deploy(self) -> None:
        """Hand it over, and wait until nothing starts or stops any more."""
        application = {
            "name": APPLICATION,
            "route_prefix": "/",
            "import_path": "serve_app.app:app",
            "args": self.graph,
            "runtime_env": {"env_vars": {"PYTHONPATH": f"{self.checkout}:{ROOT}"}},
            "deployments": [
                {"name": name, "num_replicas": count} for name, count in self.replicas.items()
            ],
        }
        config = {"proxy_location": "HeadOnly", "applications": [application]}
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
        time.sleep(1.0)  # the controller has seen it
        self.wait()

    def wait(self) -> None:
        ends_at = time.monotonic() + RUNS_WITHIN_S
        while not self._runs():
            if time.monotonic() > ends_at:
                raise TimeoutError(str(serve.status()))
            time.sleep(0.5)

    def _runs(self) -> bool:
        application = serve.status().applications.get(APPLICATION)
        return (
            application is not None
            and application.status == "RUNNING"
            and all(
                application.deployments[name].replica_states == {"RUNNING": count}
                for name, count in self.replicas.items()
            )
        )


def newer_checkout(folder: Path) -> Path:
    """A checkout whose messages all have a field more, and send it."""
    for package in ("deployments", "serve_app"):
        shutil.copytree(ROOT / package, folder / package)
    for name in ("chunker.py", "messages.py"):
        grow(folder / "deployments" / name)
    wire = folder / "deployments" / "wire.py"
    sends_defaults = wire.read_text().replace(" if value is not defaults[name]}", "}")
    assert sends_defaults != wire.read_text()
    wire.write_text(sends_defaults)
    return folder


def phases(deployed: Deployed, newer: Path, spared: str) -> dict[str, Callable[[], None]]:
    """What is done to the server, in this order; the node `spared` is not drained."""

    def update(number: int, checkout: Path) -> None:
        deployed.graph["http"]["models"] = ["step-audio-2-mini", f"update-{number}"]
        deployed.checkout = checkout
        deployed.deploy()

    def scale(stage: str, count: int) -> None:
        deployed.replicas[stage] = count
        deployed.deploy()

    steps: dict[str, Callable[[], None]] = {
        "update 1": lambda: update(1, ROOT),
        "update 2, newer messages": lambda: update(2, newer),
        "update 3, older messages": lambda: update(3, ROOT),
    }
    for stage in STAGES:
        for count in (1, 4, 1, 2):
            steps[f"{stage} to {count}, step {len(steps)}"] = (
                lambda stage=stage, count=count: scale(stage, count)  # type: ignore[misc]
            )
    return steps | {"a node is drained": lambda: drain(deployed, spared)}


def replicas_by_node() -> Counter[str]:
    """How many replicas of the stages each node has."""
    names = tuple(f"{APPLICATION}#{stage}#" for stage in STAGES)
    running = [one for one in actors().values() if one["State"] == "ALIVE"]
    return Counter(
        one["Address"]["NodeID"] for one in running if any(name in one["Name"] for name in names)
    )


def drain(deployed: Deployed, spared: str) -> None:
    """`ray drain-node` where most replicas are, as when that machine is to be taken away."""
    counts = replicas_by_node()
    counts.pop(spared, None)
    ((node_id, count),) = counts.most_common(1)
    print(f"{count} replicas are on the node", flush=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
            *("--address", ray.get_runtime_context().gcs_address, "--node-id", node_id),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"),
            *("--deadline-remaining-seconds", str(DRAINED_WITHIN_S)),
        ],
        check=True,
        capture_output=True,
    )
    time.sleep(DRAINED_WITHIN_S)
    deployed.wait()
    if left := replicas_by_node()[node_id]:
        raise RuntimeError(f"{left} replicas are still on the drained node")


async def run(listeners: Listeners, steps: dict[str, Callable[[], None]], rest_s: float) -> None:
    listening = asyncio.ensure_future(listeners.listen_forever())
    for name, step in {"before": lambda: None, **steps}.items():
        listeners.phase = name
        print(f"{name}…", flush=True)
        await asyncio.to_thread(step)
        await asyncio.sleep(rest_s)
        if listening.done():
            await listening  # raises
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def graph_of(streams: int, folder: Path) -> dict[str, Any]:
    """Arguments of the application; its ingress must end the streams that it has."""
    ingress = {"num_replicas": 2, "graceful_shutdown_timeout_s": 60}
    keys = folder / "keys"
    keys.write_text("a-key-that-all-replicas-have\n")
    http = {"spoken_turn_keys_file": str(keys), "spoken_turns_folder": str(folder / "turns")}
    thinker = {"engine_kwargs": {"seconds_per_delta": 0.2}}
    token2wav = {"max_streams": 2 * streams}
    graph = fake_graph(thinker=thinker, token2wav=token2wav, ingress=ingress, http=http)
    return graph.model_dump(mode="json")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, default=50)
    options.add_argument("--rest", type=float, default=5.0, help="seconds after each step")
    options.add_argument("--only", default="", help="steps whose names contain this")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=Path("drains.json"))
    chosen = options.parse_args()
    out, folder = chosen.out.absolute(), Path(tempfile.mkdtemp(prefix="drains-"))
    # Workers look into the driver's own folder first: it must not be a checkout.
    os.environ["PYTHONPATH"] = str(ROOT)
    os.chdir(folder)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=8)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
    deployed = Deployed(graph_of(chosen.streams, folder), dict.fromkeys(STAGES, 2))
    listeners = Listeners(f"http://127.0.0.1:{port}", chosen.streams, chosen.seed)
    try:
        deployed.deploy()
        steps = phases(deployed, newer_checkout(folder / "newer"), cluster.head_node.node_id)
        steps = {name: step for name, step in steps.items() if chosen.only in name}
        asyncio.run(run(listeners, steps, chosen.rest))
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    counts = {name: dict(counter) for name, counter in listeners.outcomes.items()}
    passed = not listeners.failures and all(counts.get(name) for name in counts)
    document = {"passed": passed, "outcomes": counts, "failures": listeners.failures}
    write_whole(out, json.dumps(document, indent=1).encode())
    for name, counter in counts.items():
        print(f"{name:32} {sum(counter.values()):5} {counter}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
