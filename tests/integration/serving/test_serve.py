"""`step-audio2 serve` with Ray, HAProxy and the graph over fake engines."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from serve_app.commands.serving.environment import PORTS
from serve_app.commands.serving.listeners import bind_error, free_port
from serve_app.commands.serving.session import members

STARTS_WITHIN_S = 150
ENDS_WITHIN_S = 60
DEAD = "http://127.0.0.1:9"  # nobody listens there
CONFIG = """
proxy_location: HeadOnly
http_options: {{host: 127.0.0.1, port: {port}}}
applications:
  - name: step-audio2
    route_prefix: /
    import_path: {import_path}
    args:
      model: none
      thinker: {{engine: fake, deployment_config: {{ray_actor_options: {half}}}}}
      token2wav: {{engine: fake, deployment_config: {{ray_actor_options: {half}}}}}
      http: {{models: [fake]}}
      ingress_deployment_config: {{ray_actor_options: {{num_cpus: 0.25}}}}
"""


class Server:
    """A server of its own: its process, its port and what it writes."""

    def __init__(
        self, folder: Path, import_path: str = "serve_app.app:app", **environment: str
    ) -> None:
        self.port = free_port()
        self.config = folder / f"{self.port}.yaml"
        half = "{num_cpus: 0.5, num_gpus: 0}"
        self.config.write_text(CONFIG.format(port=self.port, import_path=import_path, half=half))
        self.log = folder / f"{self.port}.log"
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serve_app", "serve", str(self.config)],
                env=own | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def wait(self, until: Callable[[], object], seconds: float = STARTS_WITHIN_S) -> None:
        ends_at = time.monotonic() + seconds
        while not until():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < ends_at, self.said()
            time.sleep(0.2)

    def session(self) -> int:
        """The session of Ray and all that it has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(ENDS_WITHIN_S)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(**options: str) -> Server:
        servers.append(Server(tmp_path_factory.mktemp("server"), **options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def server(started: Callable[..., Server]) -> Server:
    """One that runs, with ports of its choice, and a proxy in its environment that is dead."""
    server = started(http_proxy=DEAD, https_proxy=DEAD, HTTP_PROXY=DEAD)
    server.wait(server.is_ready)
    return server


@pytest.mark.timeout(400)
def test_a_dead_http_proxy_is_in_nobodys_way(server: Server) -> None:
    body = {"model": "fake", "input": "hello", "voice": "default", "response_format": "pcm"}
    answer = server.http.post("/v1/audio/speech", json=body, timeout=30)
    assert answer.status_code == 200 and answer.content


def test_the_second_server_at_a_port_is_told_which_process_has_it(server: Server) -> None:
    begin = time.monotonic()
    second = subprocess.run(
        [sys.executable, "-m", "serve_app", "serve", str(server.config)],
        capture_output=True,
        text=True,
    )
    assert second.returncode == 2 and time.monotonic() - begin < 20
    line = rf"step-audio2: port {server.port} is taken by process \d+ \(.*haproxy.*\)\n"
    assert re.fullmatch(line, second.stderr)


@pytest.mark.timeout(400)
def test_a_second_server_runs_beside_the_first_and_each_ends_whole(
    server: Server, started: Callable[..., Server]
) -> None:
    ports = {name: free_port() for name in PORTS}
    second = started(**{name: str(port) for name, port in ports.items()})
    second.wait(second.is_ready)
    statistics = ports["RAY_SERVE_HAPROXY_STATS_PORT"], ports["RAY_SERVE_HAPROXY_METRICS_PORT"]
    for port in statistics:
        assert bind_error("127.0.0.1", port) is not None  # there they are
        assert bind_error(own_address(), port) is None  # and nowhere else
    assert server.is_ready()

    session = second.session()
    assert len(members(session)) > 5
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(ENDS_WITHIN_S) == -signal.SIGTERM
    assert members(session) == []
    assert bind_error("127.0.0.1", second.port) is None
    assert server.is_ready()

    session = server.session()
    os.kill(server.process.pid, signal.SIGKILL)  # nobody is left to end it
    server.process.wait()
    ends_at = time.monotonic() + ENDS_WITHIN_S
    while members(session) and time.monotonic() < ends_at:
        time.sleep(0.2)
    assert members(session) == []
    assert bind_error("127.0.0.1", server.port) is None


@pytest.mark.timeout(400)
def test_what_the_cluster_lacks_is_said_within_a_minute(started: Callable[..., Server]) -> None:
    server = started(RAY_OVERRIDE_RESOURCES='{"CPU": 1}')
    wanted = "step-audio2: Ingress waits for 0.25 CPU; the cluster has 1 CPU, free: 0 CPU"
    server.wait(lambda: wanted in server.said())
    session = server.session()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(ENDS_WITHIN_S) == -signal.SIGINT
    assert members(session) == []


@pytest.mark.timeout(400)
def test_a_graph_that_cannot_start_ends_the_server_with_its_reason(
    started: Callable[..., Server],
) -> None:
    server = started(import_path="serve_app.app:there_is_none")
    assert server.process.wait(STARTS_WITHIN_S) == 1
    assert "step-audio2: the graph did not start: " in server.said()
    assert "there_is_none" in server.said().rpartition("the graph did not start: ")[2]


def own_address() -> str:
    """An address of this machine that others see, or 127.0.0.2 where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.2"
        return str(probe.getsockname()[0])
