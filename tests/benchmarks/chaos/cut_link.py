"""A Ray node whose network link can be cut: what it sends and what it is sent is lost, in silence.

The node runs in a network namespace of its own, which a bridge joins to this machine. Needs root,
and `ip` of iproute2.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST, NODE, WIDTH = "10.203.77.1", "10.203.77.2", 24  # addresses, and bits of their network
STARTS_WITHIN_S = 120.0


class Link:
    """Joins a namespace to the bridge."""

    def __init__(self, bridge: str, port: str) -> None:
        self._bridge, self._port = bridge, port

    def cut(self) -> None:
        """Lose everything. Connections stay open: nobody is told."""
        _ip("link", "set", self._port, "nomaster")

    def mend(self) -> None:
        _ip("link", "set", self._port, "master", self._bridge)


@contextmanager
def bridge() -> Iterator[str]:
    """A bridge with the address HOST on this machine. Gives its name."""
    name = f"chaos{os.getpid()}"
    _ip("link", "add", name, "type", "bridge")
    try:
        _ip("address", "add", f"{HOST}/{WIDTH}", "dev", name)
        _ip("link", "set", name, "up")
        yield name
    finally:
        _ip("link", "delete", name)


@contextmanager
def node_behind_link(bridge: str, ray_address: str, cpus: int) -> Iterator[Link]:
    """A node of the Ray at `ray_address`, and its link."""
    space, port, inside = f"chaos{os.getpid()}", f"a{os.getpid()}", f"b{os.getpid()}"
    _ip("netns", "add", space)
    try:
        _ip("link", "add", port, "type", "veth", "peer", "name", inside, "netns", space)
        _ip("link", "set", port, "master", bridge, "up")
        _ip("-n", space, "address", "add", f"{NODE}/{WIDTH}", "dev", inside)
        _ip("-n", space, "link", "set", inside, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "route", "add", "default", "via", HOST)
        _start_ray(space, ray_address, cpus)
        yield Link(bridge, port)
    finally:
        _end_processes(space)
        _ip("netns", "delete", space)


def _start_ray(space: str, address: str, cpus: int) -> None:
    ray = str(Path(sys.executable).with_name("ray"))
    start = [
        ray,
        "start",
        f"--address={address}",
        f"--node-ip-address={NODE}",
        f"--num-cpus={cpus}",
    ]
    _ip("netns", "exec", space, *start, "--disable-usage-stats")


def _end_processes(space: str) -> None:
    """Kill all that runs in the namespace, as the end of a machine does."""
    ends_at = time.monotonic() + STARTS_WITHIN_S
    while pids := _ip("netns", "pids", space).split():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if time.monotonic() > ends_at:
            raise TimeoutError(f"processes {pids} do not end")
        time.sleep(0.1)


def _ip(*arguments: str) -> str:
    """What `ip` prints. Raises CalledProcessError where it fails; its reason is on stderr."""
    done = subprocess.run(
        ["ip", *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=STARTS_WITHIN_S
    )
    return done.stdout
