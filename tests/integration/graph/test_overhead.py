"""What the graph costs: the first audio byte through Ray against the engines in one process.

A machine that is slow, or busy, is so for Ray Serve as for us. So beside the graph a chain of three
deployments that do nothing is asked in turn, and the graph is compared with that.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from ray import serve

from deployments.chunker import ChunkSchedule
from deployments.thinker.fake import FakeThinkerEngine
from deployments.token2wav.fake import FakeSynthesizer
from serve_app.graph.fake import FakeServeBackend
from serve_app.http.application import create_http_app
from serve_app.http.settings import HttpSettings
from tests.integration.graph.bare_chain import bare_chain
from tests.integration.graph.conftest import MODEL, fake_graph, served
from tests.served import served as served_in_a_thread

REQUESTS = 80
UNCOUNTED = 15  # they fill the caches
MOST_OF_BARE = 2.0  # times the first byte of the bare chain; 0.8 (pcm), 1.1 (mp3) measured
BODY = {"model": MODEL, "voice": "default", "input": "measure this"}


@dataclass
class Way:
    """One way to a first byte, and how long it took each time."""

    name: str
    client: httpx.Client
    path: str = "/v1/audio/speech"
    body: dict[str, str] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)

    def ask(self) -> None:
        started = time.perf_counter()
        with self.client.stream("POST", self.path, json=self.body) as answer:
            next(answer.iter_raw())
            self.times_ms.append(1e3 * (time.perf_counter() - started))
            assert answer.status_code == 200

    @property
    def quartile_ms(self) -> float:
        """The lower quartile: other work on the machine only adds to a time."""
        return statistics.quantiles(self.times_ms[UNCOUNTED:], n=4)[0]


@contextmanager
def in_one_process() -> Iterator[str]:
    """The same HTTP application over the same fake engines, without Ray."""
    schedule = ChunkSchedule()
    backend = FakeServeBackend(FakeThinkerEngine(), FakeSynthesizer(schedule))
    asyncio.run(backend.start())
    app = create_http_app(backend, HttpSettings(models=(MODEL,)))
    with served_in_a_thread(app) as url:
        yield url


@contextmanager
def bare_served() -> Iterator[str]:
    """The bare chain on the running Ray; gives its path."""
    serve.run(bare_chain(), name="bare", route_prefix="/bare")
    try:
        yield "/bare/"
    finally:
        serve.delete("bare")


def test_the_graph_adds_little_to_what_ray_serve_costs(base_url, capsys):
    with (
        in_one_process() as direct_url,
        served(fake_graph()),
        bare_served() as bare_path,
        httpx.Client(base_url=direct_url, timeout=30) as direct_client,
        httpx.Client(base_url=base_url, timeout=30) as graph_client,
    ):
        bare = Way("bare chain", graph_client, bare_path)
        pairs = [
            tuple(
                Way(form, client, body=BODY | {"response_format": form})
                for client in (direct_client, graph_client)
            )
            for form in ("pcm", "mp3")  # what takes no encoder, and the slowest one
        ]
        for _ in range(UNCOUNTED + REQUESTS):
            bare.ask()
            for pair in pairs:
                for way in pair:
                    way.ask()
    added_ms = {direct.name: through.quartile_ms - direct.quartile_ms for direct, through in pairs}
    with capsys.disabled():
        print(f"\nfirst byte, lower quartiles of {REQUESTS}: {bare.quartile_ms:.1f} ms, bare chain")
        for direct, through in pairs:
            print(
                f"{direct.name}: {direct.quartile_ms:.1f} ms in one process, "
                f"{through.quartile_ms:.1f} through the graph: {added_ms[direct.name]:.1f} ms added"
            )
    assert max(added_ms.values()) < MOST_OF_BARE * bare.quartile_ms
