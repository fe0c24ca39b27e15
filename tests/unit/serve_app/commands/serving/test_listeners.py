"""A port that is taken is named with the process that has it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.errors import ConfigError
from serve_app.commands.serving.listeners import bind_error, free_port, holder, require_free


@contextmanager
def listening(family: socket.AddressFamily, host: str) -> Iterator[int]:
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("family", "host"),
    [
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::"),
    ],
)
def test_the_process_that_listens_is_named_for_ipv4_and_ipv6(family, host) -> None:
    with listening(family, host) as port:
        with pytest.raises(ConfigError) as refused:
            require_free(host, port, "port")
        process = holder(port)
        assert process is not None and process.pid == os.getpid()
        assert str(refused.value).startswith(
            f"port {port} is taken by process {os.getpid()} ({process.command}"
        )
        program = Path("/proc/self/cmdline").read_bytes().split(b"\0")[0].decode().split()[0]
        assert program in process.command and "\n" not in str(refused.value)


def test_a_listener_of_one_address_keeps_a_server_from_every_address() -> None:
    with listening(socket.AF_INET, "127.0.0.1") as port:
        assert bind_error("0.0.0.0", port) is not None


def test_a_connection_that_has_just_ended_takes_no_port() -> None:
    with listening(socket.AF_INET, "127.0.0.1") as port, socket.socket() as client:
        client.connect(("127.0.0.1", port))
    assert bind_error("127.0.0.1", port) is None and holder(port) is None


def test_a_host_of_another_machine_is_named_as_such() -> None:
    with pytest.raises(ConfigError, match=r"port 8000 cannot be opened at 198\.51\.100\.1: "):
        require_free("198.51.100.1", 8000, "port")


def test_a_preferred_port_is_taken_where_it_is_free_and_another_where_it_is_not() -> None:
    with listening(socket.AF_INET, "127.0.0.1") as port:
        assert free_port(port) != port
    assert free_port(port) == port
