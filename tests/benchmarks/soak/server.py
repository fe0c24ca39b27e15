"""The server of a soak: what `make serve` starts, at a port and with log files of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml
from rich.console import Console

from serve_app.commands.own_server import stop, watch
from serve_app.commands.server_wait import wait_until_ready
from serve_app.commands.serving.listeners import free_port
from serve_app.commands.serving.session import members
from tests.places import CONFIGS, ROOT

WRITTEN = ("serve/*.log", "worker-*.err", "worker-*.out")
READY_WITHIN_S = 600.0  # the machine may be busy


@dataclass(frozen=True, slots=True)
class SoakedServer:
    """A server that runs."""

    url: str
    process: "subprocess.Popen[bytes]"
    console_log: Path
    ray_folder: Path

    def pids(self) -> list[int]:
        """All its processes: the command, and the session of what it has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        leaders = [int(pid) for pid in children.read_text().split()]
        return [self.process.pid, *(pid for leader in leaders for pid in members(leader))]

    def logs(self) -> list[Path]:
        """What the graph writes: its console, its replicas' logs, its workers' output."""
        logs = next(self.ray_folder.glob("ray/session_2*/logs"))
        written = [
            *logs.glob("serve/*.log"),
            *logs.glob("worker-*.err"),
            *logs.glob("worker-*.out"),
        ]
        return [self.console_log, *written]


@contextmanager
def running(config: Path, folder: Path) -> Iterator[SoakedServer]:
    """Serve `config` at a free port for as long as the block lasts; `folder` takes its files."""
    port = free_port()
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    document["http_options"]["port"] = port
    own = folder / "config.yaml"
    own.write_text(yaml.safe_dump(document), encoding="utf-8")
    log, url = folder / "server.log", f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app", "serve", str(own)],
            cwd=ROOT,  # the configuration's paths are relative
            env=os.environ | {"RAY_TMPDIR": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=url, trust_env=False) as http:
            wait_until_ready(http, READY_WITHIN_S, lambda: watch(process, log), Console())
        yield SoakedServer(url, process, log, folder)
    finally:
        stop(process)


CPU_CONFIG = CONFIGS / "cpu.yaml"
