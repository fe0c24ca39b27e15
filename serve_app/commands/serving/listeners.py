"""Who listens on a port of this machine."""

import errno
import os
import random
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployments.errors import ConfigError

# The ports that the system picks, from 32768 on, are taken by Ray's processes at any moment, and
# Ray's workers and replicas listen from 10000 to 19999 and from 30000 on.
FREE_PORTS = range(20_000, 30_000)
PORTS_TRIED = 100
LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
COMMAND_SHOWN = 120  # characters


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds a port."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def require_free(host: str, port: int, what: str) -> None:
    """Check that a server could listen at `host` and `port` now.

    Raises:
        ConfigError: it could not; the message names the process that has the port.
    """
    error = bind_error(host, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        by = holder(port) or "a process of another user"
        raise ConfigError(f"{what} {port} is taken by {by}")
    raise ConfigError(f"{what} {port} cannot be opened at {host}: {error.strerror or error}")


def bind_error(host: str, port: int) -> OSError | None:
    """What keeps a server from listening at `host` and `port`; None where nothing does."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past TIME_WAIT
            probe.bind(address)
    except OSError as error:
        return error
    return None


def free_port(preferred: int | None = None, host: str = "") -> int:
    """`preferred` where it is free on all addresses, else one of `FREE_PORTS`.

    Raises:
        ConfigError: all that were tried are taken.
    """
    tried = [] if preferred is None else [preferred]
    for port in tried + random.sample(FREE_PORTS, PORTS_TRIED):
        if bind_error(host or "0.0.0.0", port) is None:
            return port
    raise ConfigError(f"no port is free among {PORTS_TRIED} that were tried")


def holder(port: int) -> Process | None:
    """The process that listens on `port`, of IPv4 or IPv6.

    None where none does, where the system has no /proc, or where it hides other users' processes.
    """
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not wanted:
        return None
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # a process that ends, or that belongs to another user
            if any(os.readlink(fd) in wanted for fd in (entry / "fd").iterdir()):
                return Process(int(entry.name), _command(entry))
    return None


def _inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(fields[9])
    return found


def _command(entry: Path) -> str:
    words = (entry / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    command = b" ".join(words).decode(errors="replace")
    return command if len(command) <= COMMAND_SHOWN else f"{command[:COMMAND_SHOWN]}…"
