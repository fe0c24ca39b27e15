"""Listeners while replicas are killed: `make chaos`, or `python -m tests.benchmarks.run_chaos`.

A Ray of several nodes on this machine serves the graph with engines that answer at once. Every few
seconds a replica of a stage is killed with SIGKILL, by chance and by a seed. Each answer must have
every sample once, or end with an error. Prints a table, writes JSON, and fails where an answer was
short, long or another one, or where too few were exact.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
from ray.serve._private.logging_utils import get_serve_logs_dir

from deployments.thinker.fake import audio_tokens_of
from serve_app.commands.serving.listeners import free_port
from serve_app.whole_files import write_whole
from tests.integration.graph.conftest import fake_graph, on_node, served, speech_body

STAGES = ("Thinker", "Token2Wav")
EXACT_AT_LEAST = 0.995  # of all answers, while no stream is hit more often than it may go on
LEAST_LETTERS, MOST_LETTERS = 20, 120  # 4 audio tokens a letter: 3 to 19 s of sound
GOES_ON = "goes on with another replica"


@dataclass
class Chaos:
    """What is done to the server, and what came of it."""

    seed: int
    nodes: int
    replicas: int  # of each stage
    streams: int  # at once
    kill_every_s: float
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    kills: list[tuple[float, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    went_on: int = 0

    @property
    def failures(self) -> list[str]:
        answers = sum(self.outcomes.values())
        failures = []
        if self.wrong:
            failures.append(f"{len(self.wrong)} answers were wrong")
        if not answers or self.outcomes["exact"] < EXACT_AT_LEAST * answers:
            failures.append(f"{self.outcomes['exact']} of {answers} answers were exact")
        if self.kills and not self.went_on:
            failures.append("no answer was hit, so nothing is shown")
        return failures

    def document(self) -> dict[str, Any]:
        counts = {"outcomes": dict(self.outcomes), "errors": dict(self.errors)}
        return vars(self) | counts | {"failures": self.failures, "passed": not self.failures}


async def listen(
    chaos: Chaos, client: httpx.AsyncClient, draw: random.Random, until: float
) -> None:
    """Ask one thing after the other."""
    while time.monotonic() < until:
        text = "".join(draw.choices("abcdefgh ", k=draw.randint(LEAST_LETTERS, MOST_LETTERS)))
        text = f"a{text}b"  # spaces at the ends are not spoken
        sound = b""
        try:
            async with client.stream("POST", "/v1/audio/speech", json=speech_body(text)) as answer:
                if answer.status_code != 200:
                    await answer.aread()
                    chaos.errors[str(answer.status_code)] += 1
                    chaos.outcomes["refused" if answer.status_code == 429 else "error"] += 1
                    continue
                async for piece in answer.aiter_raw():
                    sound += piece
        except httpx.HTTPError as error:
            chaos.outcomes["error"] += 1
            chaos.errors[type(error).__name__] += 1
            continue
        expected = np.repeat(audio_tokens_of(text), 960).astype("<i2").tobytes()
        chaos.outcomes["exact" if sound == expected else "wrong"] += 1
        if sound != expected:
            chaos.wrong.append(f"{text!r}: {len(sound)} bytes of {len(expected)}")


async def kill(chaos: Chaos, application: str, began: float) -> None:
    """Kill one replica of a stage after the other."""
    draw = random.Random(chaos.seed)
    while True:
        await asyncio.sleep(chaos.kill_every_s)
        stage = draw.choice(STAGES)
        records = await asyncio.to_thread(actors)
        pids = sorted(
            one["Pid"]
            for one in records.values()
            if one["State"] == "ALIVE" and f"{application}#{stage}#" in one["Name"]
        )
        if len(pids) > 1:  # with none left, nobody could go on
            os.kill(draw.choice(pids), signal.SIGKILL)
            chaos.kills.append((round(time.monotonic() - began, 1), stage))


@contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """A Ray of that many nodes; gives where Serve listens."""
    started = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False}
    )
    for _ in range(nodes - 1):
        started.add_node(num_cpus=8)
    started.wait_for_nodes()
    ray.init(address=started.address, log_to_driver=False)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()
        started.shutdown()


async def run(chaos: Chaos, base_url: str, application: str) -> None:
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=base_url, timeout=120, limits=limits) as client:
        killing = asyncio.create_task(kill(chaos, application, began))
        draws = [random.Random(f"{chaos.seed} {number}") for number in range(chaos.streams)]
        until = began + chaos.seconds
        await asyncio.gather(*(listen(chaos, client, draw, until) for draw in draws))
        killing.cancel()
    logs = Path(get_serve_logs_dir()).glob(f"replica_{application}_*.log")
    chaos.went_on = sum(log.read_text(errors="replace").count(GOES_ON) for log in logs)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--streams", type=int, default=50)
    options.add_argument("--nodes", type=int, default=4)
    options.add_argument("--replicas", type=int, default=3, help="of each stage")
    options.add_argument("--kill-every", type=float, default=10.0, help="seconds")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, default=Path("chaos.json"))
    chosen = options.parse_args()
    chaos = Chaos(
        chosen.seed,
        chosen.nodes,
        chosen.replicas,
        chosen.streams,
        chosen.kill_every,
        chosen.seconds,
    )
    stage = {"deployment_config": on_node(num_replicas=chaos.replicas)}
    config = fake_graph(
        thinker={**stage, "engine_kwargs": {"seconds_per_delta": 0.2}},
        token2wav={**stage, "max_streams": chaos.streams},
    )
    with cluster(chaos.nodes) as base_url, served(config) as application:
        asyncio.run(run(chaos, base_url, application))
    document = chaos.document()
    write_whole(chosen.out, json.dumps(document, indent=1).encode())
    print(json.dumps({name: value for name, value in document.items() if name != "kills"}))
    return 0 if document["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
