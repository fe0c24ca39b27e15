"""The served graph in a process of its own, so that the client's loop is nobody's but the client's.

As a program (`python -m tests.benchmarks.graph_server SPEC`) it starts Ray and the graph, tells
what has happened on its standard output as lines of JSON that begin with `EVENT`, answers the
questions on its standard input, lines of JSON too (`tests/benchmarks/graph_questions.py`), and ends
with that.
`GraphServer` is the other side.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tests.benchmarks.graph_config import Plan, app_config, graph_alone_config
from tests.haproxy import own_settings

MARK = "EVENT "
APPLICATION, ALONE = "step-audio2", "alone"
PROXY_FAILED = 3  # exit code
PROXY_WITHIN_S = 45.0
STOP_WITHIN_S = 15.0
LOG_COLUMNS = 4096  # of a line in the log: an answer may be a megabyte
OBJECT_STORE_BYTES = 512 << 20  # nothing of ours goes through it


@dataclass(frozen=True, slots=True)
class Spec:
    """What the process is to do."""

    plan: Plan
    port: int
    checkpoint_within_s: float
    num_cpus: int


class StartFailed(RuntimeError):
    """The graph did not come; says what its log ends with."""


class GraphServer:
    """The process, seen from the client."""

    def __init__(self, spec: Spec, work: Path, log: Path, proxies: tuple[str, ...]) -> None:
        """`proxies` are tried in turn: `haproxy`, `python`."""
        self._spec, self._work, self._log = spec, work, log
        self._proxies = proxies
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self.proxy = ""
        self.events: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{spec.port}"

    def start(self, proxy: str) -> None:
        self.proxy = proxy
        work = self._work / proxy
        work.mkdir(parents=True, exist_ok=True)
        environment = os.environ | proxy_environment(proxy, work)
        path = self._work / "spec.json"
        path.write_text(json.dumps(asdict(self._spec)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.graph_server", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def wait_ready(self, within_s: float, check: Callable[[], None]) -> None:
        """Return once the graph serves. Raises StartFailed, or what `check` does meanwhile."""
        deadline = time.monotonic() + within_s
        proxies = iter(self._proxies)
        self.start(next(proxies))
        while not self.has("ready"):
            assert self._process is not None
            check()
            code = self._process.poll()
            if code == PROXY_FAILED and (proxy := next(proxies, None)):
                print(f"no answer through {self.proxy}; trying {proxy}", flush=True)
                self.stop()
                self.start(proxy)
            elif code is not None:
                raise StartFailed(f"the server ended with {code}:\n{self._tail()}")
            elif time.monotonic() > deadline:
                raise StartFailed(f"not ready after {within_s:.0f} s:\n{self._tail()}")
            time.sleep(0.1)

    def has(self, name: str) -> bool:
        return any(event["event"] == name for event in self.events)

    async def ask(self, question: str, within_s: float, **arguments: Any) -> Any:
        """Have one of `graph_questions.QUESTIONS` answered by the server's process.

        Raises:
            RuntimeError: it could not be.
        """
        assert self._process is not None and self._process.stdin is not None
        number = next(self._numbers)
        asked = {"number": number, "question": question, "arguments": arguments}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        async with asyncio.timeout(within_s):
            while True:
                for event in self.events:
                    if event["event"] == "answer" and event["number"] == number:
                        if event["error"]:
                            raise RuntimeError(event["error"])
                        return event["answer"]
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        """Ask, then end what is left of the session that `start` made."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _read(self, output: IO[bytes]) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            for raw in output:
                line = raw.decode(errors="replace")
                log.write(line[:LOG_COLUMNS].rstrip("\n") + "\n")
                log.flush()
                if line.startswith(MARK):
                    event = json.loads(line.removeprefix(MARK))
                    self.events.append(event)
                    told = {k: v for k, v in event.items() if k not in ("event", "at", "answer")}
                    print(f"  server: {event['event']} {told or ''}", flush=True)

    def _tail(self, lines: int = 60, characters: int = 6000) -> str:
        end = self._log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(end)[-characters:]


def proxy_environment(proxy: str, work: Path) -> dict[str, str]:
    """The Makefile's settings of Ray Serve, HAProxy's files and ports kept to this run."""
    haproxy = proxy == "haproxy"
    settings = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if haproxy else "0",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(100 << 20),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        # A microVM shows little memory until it is used: Ray would end workers for its sake.
        "RAY_memory_monitor_refresh_ms": "0",
        "PYTHONUNBUFFERED": "1",
    }
    if haproxy:
        settings |= own_settings(work)
    return settings


def tell(event: str, **more: Any) -> None:
    print(MARK + json.dumps({"event": event, "at": time.time(), **more}), flush=True)


def serve_until_stdin_ends(spec: Spec) -> int:
    """The process itself; gives its exit code."""
    import ray
    from ray import serve

    from serve_app.app import app
    from tests.benchmarks.graph_questions import answer_until_stdin_ends, watched_app

    tell("python")
    ray.init(
        address="local",
        num_cpus=spec.num_cpus,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
    )
    tell("ray", resources=ray.cluster_resources().get("GPU", 0.0))
    http = {"host": "127.0.0.1", "port": spec.port, "location": "HeadOnly"}
    try:
        serve.start(http_options=http)
    except Exception:  # of the proxy's own actor
        traceback.print_exc()
        return PROXY_FAILED
    tell("serve")
    # First the graph without models: it proves the proxy while the checkpoint is still written.
    serve.run(app(graph_alone_config()), name=ALONE, route_prefix="/alone")
    if not answers(f"http://127.0.0.1:{spec.port}/alone/health", PROXY_WITHIN_S):
        return PROXY_FAILED
    tell("graph alone")
    config_path = Path(spec.plan.model) / "config.json"  # a checkpoint's last file
    deadline = time.monotonic() + spec.checkpoint_within_s
    while not config_path.exists():
        if time.monotonic() > deadline:
            raise FileNotFoundError(config_path)
        time.sleep(0.1)
    tell("checkpoint")
    watch = threading.Thread(target=_tell_replicas, daemon=True)
    watch.start()
    serve.run(watched_app(app_config(spec.plan)), name=APPLICATION, route_prefix="/")
    if not answers(f"http://127.0.0.1:{spec.port}/health", PROXY_WITHIN_S):
        return PROXY_FAILED
    tell("ready")
    asyncio.run(answer_until_stdin_ends(tell, APPLICATION))
    ray.shutdown()
    return 0


def answers(url: str, within_s: float) -> bool:
    """Whether `url` answers 200 within that time."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            with opener.open(url, timeout=5) as answer:
                if answer.status == 200:
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def _tell_replicas() -> None:
    """One event for each stage whose replica is there."""
    from ray import serve

    waiting = {"Thinker", "Token2Wav", "Ingress"}
    while waiting:
        graph = serve.status().applications.get(APPLICATION)
        for name, stage in (graph.deployments if graph else {}).items():
            if name in waiting and stage.replica_states.get("RUNNING", 0):
                waiting.discard(name)
                tell("replica", stage=name)
        time.sleep(0.25)


def main() -> None:
    raw = json.loads(Path(sys.argv[1]).read_text())
    spec = Spec(**{**raw, "plan": Plan(**raw["plan"])})
    sys.exit(serve_until_stdin_ends(spec))


if __name__ == "__main__":
    main()
