"""Listeners while replicas die or hang: `make chaos`, or `python -m tests.benchmarks.run_chaos`.

A Ray of several nodes on this machine serves the graph with engines that answer at once. Every few
seconds a replica of a stage is killed (SIGKILL), or hangs for some seconds (SIGSTOP, then SIGCONT),
by chance and by a seed. `--kinds` has others: `node` removes a node with all that runs there,
`ingress` kills a replica of the ingress, `cut` cuts the network link of a node for some seconds
(this needs root), and `gcs` kills the GCS of Ray, which starts again after some seconds. Nothing
can keep the socket of an ingress that dies: answers that broke off then are counted apart.

Each answer must have every sample once, or end with an error. Prints a table, writes JSON, and
fails where an answer was short, long or another one, or where too few were exact. The JSON of a run
that failed has all faults and all answers, in the order of their ends.

    python -m tests.benchmarks.run_chaos --replay chaos.json      the same options and faults again
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tests.conftest  # isort: skip  # noqa: F401  # first: Ray Serve reads its switches at import

import httpx
import numpy as np
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve._private.logging_utils import get_serve_logs_dir

from deployments.thinker.fake import audio_tokens_of
from serve_app.commands.serving.listeners import free_port
from serve_app.config import AppConfig
from serve_app.whole_files import write_whole
from tests.benchmarks.chaos.cut_link import HOST, Link, bridge, node_behind_link
from tests.benchmarks.chaos.disturbance import NODE_CPUS, Disturbance
from tests.benchmarks.chaos.faults import KINDS, Fault, faults_of
from tests.integration.graph.conftest import fake_graph, on_node, served, speech_body

EXACT_AT_LEAST = 0.995  # of all answers, while no stream is hit more often than it may go on
LEAST_LETTERS, MOST_LETTERS = 20, 120  # 4 audio tokens a letter: 3 to 19 s of sound
GOES_ON = "goes on with another replica"
WITH_ITS_INGRESS = "lost with its ingress"  # whose socket nothing can keep
SPREAD = 2  # replicas of a stage on a node at most: some are left when it goes
NODES_WITHIN_S = 120.0
NOTICED_WITHIN_S = 2.0  # a client, that the ingress has died


@dataclass(frozen=True)
class Answer:
    """What a listener asked, and what came of it."""

    began_s: float
    ended_s: float
    first_s: float  # to its first sound
    longest_gap_s: float  # without any, after that
    text: str
    outcome: str
    sound_bytes: int


@dataclass
class Chaos:
    """What is done to the server, and what came of it."""

    seed: int
    nodes: int
    replicas: int  # of each stage
    streams: int  # at once
    fault_every_s: float
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)  # that happened
    answers: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    went_on: int = 0
    ingress_died_s: list[float] = field(default_factory=list)

    def hit(self, fault: Fault) -> None:
        self.faults.append(fault)
        if fault.kind in ("ingress", "node"):  # a node may hold one
            self.ingress_died_s.append(fault.at_s)

    def lost_with_ingress(self, began_s: float, ended_s: float) -> bool:
        """Whether one died just before an answer broke off."""
        return any(
            began_s <= at_s + NOTICED_WITHIN_S and at_s <= ended_s <= at_s + NOTICED_WITHIN_S
            for at_s in self.ingress_died_s
        )

    @property
    def failures(self) -> list[str]:
        answers = sum(self.outcomes.values()) - self.outcomes[WITH_ITS_INGRESS]
        failures = []
        if self.wrong:
            failures.append(f"{len(self.wrong)} answers were wrong")
        if not answers or self.outcomes["exact"] < EXACT_AT_LEAST * answers:
            failures.append(f"{self.outcomes['exact']} of {answers} answers were exact")
        of_streams = [fault for fault in self.faults if fault.kind != "gcs"]
        if of_streams and not self.went_on:
            failures.append("no answer was hit, so nothing is shown")
        if self.faults and not of_streams and self.went_on:
            failures.append(
                f"{self.went_on} answers went on elsewhere, though only the GCS was away"
            )
        return failures

    def note(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.outcomes[answer.outcome] += 1

    def document(self) -> dict[str, Any]:
        """Everything. The answers are kept of a run that failed."""
        gaps_s = sorted(answer.longest_gap_s for answer in self.answers)
        firsts_s = sorted(answer.first_s for answer in self.answers)
        return vars(self) | {
            "outcomes": dict(self.outcomes),
            "errors": dict(self.errors),
            "longest_gaps_s": [round(gap_s, 2) for gap_s in gaps_s[-10:]],
            "longest_to_first_sound_s": [round(first_s, 2) for first_s in firsts_s[-10:]],
            "faults": [vars(fault) for fault in self.faults],
            "answers": [vars(answer) for answer in self.answers] if self.failures else [],
            "failures": self.failures,
            "passed": not self.failures,
        }


async def listen(
    chaos: Chaos, client: httpx.AsyncClient, draw: random.Random, began: float
) -> None:
    """Ask one thing after the other."""
    while (asked_s := time.monotonic() - began) < chaos.seconds:
        text = "".join(draw.choices("abcdefgh ", k=draw.randint(LEAST_LETTERS, MOST_LETTERS)))
        text = f"a{text}b"  # spaces at the ends are not spoken
        sound, silences_s, outcome = await heard(chaos, client, text)
        expected = np.repeat(audio_tokens_of(text), 960).astype("<i2").tobytes()
        if outcome == "whole":
            outcome = "exact" if sound == expected else "wrong"
        if outcome == "wrong":
            chaos.wrong.append(f"{text!r}: {len(sound)} bytes of {len(expected)}")
        ended_s = time.monotonic() - began
        if outcome == "error" and chaos.lost_with_ingress(asked_s, ended_s):
            outcome = WITH_ITS_INGRESS
        first_s, gap_s = silences_s[0], max(silences_s[1:], default=0.0)
        chaos.note(Answer(asked_s, ended_s, first_s, gap_s, text, outcome, len(sound)))


async def heard(
    chaos: Chaos, client: httpx.AsyncClient, text: str
) -> tuple[bytes, list[float], str]:
    """The sound of an answer, the seconds before each piece and the end, and how it ended."""
    sound, silences_s, heard_at_s = b"", [], time.monotonic()
    try:
        async with client.stream("POST", "/v1/audio/speech", json=speech_body(text)) as answer:
            if answer.status_code != 200:
                await answer.aread()
                chaos.errors[str(answer.status_code)] += 1
                return b"", [0.0], "refused" if answer.status_code == 429 else "error"
            async for piece in answer.aiter_raw():
                sound += piece
                silences_s.append(time.monotonic() - heard_at_s)
                heard_at_s = time.monotonic()
    except httpx.HTTPError as error:
        chaos.errors[type(error).__name__] += 1
        return sound, [*silences_s, time.monotonic() - heard_at_s], "error"
    return sound, [*silences_s, time.monotonic() - heard_at_s], "whole"


@contextmanager
def cluster(
    nodes: int, kinds: set[str], folder: Path
) -> Iterator[tuple[Cluster, Link | None, str]]:
    """A Ray of that many nodes, the link of one that can be cut off, and where Serve listens."""
    head = {"num_cpus": NODE_CPUS, "include_dashboard": False}
    with ExitStack() as stack:
        if "gcs" in kinds:
            os.environ |= {
                "RAY_gcs_storage": "rocksdb",
                "RAY_gcs_storage_path": str(folder / "gcs"),
            }
            head["gcs_server_port"] = free_port()
        bridged = stack.enter_context(bridge()) if "cut" in kinds else None
        if bridged:
            head["node_ip_address"] = HOST
        # With Ray's own hooks a node could be started by the main thread alone, in which the
        # listeners are.
        started = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        stack.callback(started.shutdown)
        link = None
        if bridged:
            link = stack.enter_context(node_behind_link(bridged, started.address, NODE_CPUS))
        for _ in range(nodes - 1 - (link is not None)):
            started.add_node(num_cpus=NODE_CPUS, **({"node_ip_address": HOST} if link else {}))
        ray.init(address=started.address, log_to_driver=False)
        stack.callback(ray.shutdown)
        wait_for_nodes(nodes)
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
        stack.callback(serve.shutdown)
        yield started, link, f"http://127.0.0.1:{port}"


def wait_for_nodes(count: int) -> None:
    ends_at = time.monotonic() + NODES_WITHIN_S
    while sum(node["Alive"] for node in ray.nodes()) < count:
        if time.monotonic() > ends_at:
            raise TimeoutError(str(ray.nodes()))
        time.sleep(0.5)


async def run(chaos: Chaos, base_url: str, disturbance: Disturbance, faults: list[Fault]) -> None:
    began = time.monotonic()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=base_url, timeout=120, limits=limits) as client:
        disturbing = asyncio.create_task(disturbance.run(began, faults))
        draws = [random.Random(f"{chaos.seed} {number}") for number in range(chaos.streams)]
        await asyncio.gather(*(listen(chaos, client, draw, began) for draw in draws))
        disturbing.cancel()
        await asyncio.gather(disturbing, return_exceptions=True)
        if not disturbing.cancelled():
            disturbing.result()


def went_on(application: str) -> int:
    """How many answers did, as the replicas' logs say."""
    logs = Path(get_serve_logs_dir()).glob(f"replica_{application}_*.log")
    return sum(log.read_text(errors="replace").count(GOES_ON) for log in logs)


def parsed() -> tuple[Chaos, list[Fault], Path]:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--streams", type=int, default=50)
    options.add_argument("--nodes", type=int, default=4)
    options.add_argument("--replicas", type=int, default=3, help="of each stage")
    options.add_argument("--fault-every", type=float, default=10.0, help="seconds")
    options.add_argument("--kinds", default="kill,hang", help=f"of {', '.join(KINDS)}")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--replay", type=Path, help="the JSON of an earlier run")
    options.add_argument("--out", type=Path, default=Path("chaos.json"))
    chosen = options.parse_args()
    if chosen.replay is not None:
        earlier = json.loads(chosen.replay.read_text())
        names = ("seed", "nodes", "replicas", "streams", "fault_every_s", "seconds")
        faults = [Fault(**fault) for fault in earlier["faults"]]
        return Chaos(*(earlier[name] for name in names)), faults, chosen.out
    chaos = Chaos(
        chosen.seed,
        chosen.nodes,
        chosen.replicas,
        chosen.streams,
        chosen.fault_every,
        chosen.seconds,
    )
    kinds = tuple(chosen.kinds.split(","))
    return chaos, faults_of(chaos.seed, chaos.fault_every_s, chaos.seconds, kinds), chosen.out


def configuration(chaos: Chaos, folder: Path) -> AppConfig:
    """Each stage on several nodes, and two replicas of the ingress, which share spoken turns."""
    spread = on_node(num_replicas=chaos.replicas, max_replicas_per_node=SPREAD)
    stage = {"deployment_config": spread}
    keys = folder / "keys"
    keys.write_text("a-key-that-all-replicas-have\n")
    return fake_graph(
        thinker={**stage, "engine_kwargs": {"seconds_per_delta": 0.2}},
        token2wav={**stage, "max_streams": chaos.streams},
        ingress={"num_replicas": 2},
        http={"spoken_turn_keys_file": str(keys), "spoken_turns_folder": str(folder / "turns")},
    )


def main() -> int:
    chaos, faults, out = parsed()
    kinds = {fault.kind for fault in faults}
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster(chaos.nodes, kinds, Path(folder)) as (nodes, link, base_url),
        served(configuration(chaos, Path(folder))) as application,
    ):
        disturbance = Disturbance(nodes, link, application, chaos.hit)
        asyncio.run(run(chaos, base_url, disturbance, faults))
        chaos.went_on = went_on(application)
    document = chaos.document()
    write_whole(out, json.dumps(document, indent=1).encode())
    print(json.dumps({name: what for name, what in document.items() if name != "answers"}))
    if not chaos.failures:
        return 0
    print(f"again: python -m tests.benchmarks.run_chaos --replay {out}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
