"""The command: everything is checked, then Ray Serve runs in a session of its own."""

import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from serve_app.commands.config_file import read_configuration
from serve_app.commands.console import say
from serve_app.commands.serving.checks_before_start import check
from serve_app.commands.serving.environment import (
    PORTS,
    choose_ports,
    has_haproxy,
    server_environment,
)
from serve_app.commands.serving.session import run_in_session

DRIVER = "serve_app.commands.serving.driver"


def run(config: Path, console: Console) -> int:
    """Serve `config` until a signal; gives the status for `session.end_as`.

    Raises:
        ConfigError: it could not start: the configuration, the model, a port or the cluster.
    """
    configuration = read_configuration(config)
    command = [sys.executable, "-m", DRIVER]
    command += [str(configuration.path), str(os.getpid()), configuration.page_url]
    address = os.environ.get("RAY_ADDRESS")
    check(configuration, os.environ, address)
    if address:
        say(console, f"step-audio2: joining the Ray cluster {address}")
        return run_in_session(command, os.environ)
    with tempfile.TemporaryDirectory(prefix="haproxy-", ignore_cleanup_errors=True) as folder:
        ports = choose_ports(os.environ)
        if has_haproxy(os.environ):
            for line in moved(ports):
                say(console, f"step-audio2: {line}")
        return run_in_session(command, server_environment(os.environ, Path(folder), ports))


def moved(ports: dict[str, int]) -> list[str]:
    """A line for each port that is not Ray Serve's own, since another server has that."""
    return [
        f"port {usual} is taken; {name}={ports[name]}"
        for name, usual in PORTS.items()
        if ports[name] != usual and name not in os.environ
    ]
