"""The command: everything is checked, then Ray Serve runs in a session of its own."""

import os
import sys
import tempfile
from pathlib import Path

import yaml
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


def run(config: Path, console: Console, host: str | None = None, port: int | None = None) -> int:
    """Serve `config` until a signal; gives the status for `session.end_as`.

    Args:
        host: where HTTP listens, instead of what the configuration says.
        port: likewise.

    Raises:
        ConfigError: it could not start: the configuration, the model, a port or the cluster.
    """
    read = read_configuration(config)
    configuration = read.listening_at(host, port)
    address = os.environ.get("RAY_ADDRESS")
    check(configuration, os.environ, address)
    with tempfile.TemporaryDirectory(prefix="step-audio2-", ignore_cleanup_errors=True) as folder:
        served = configuration.path
        if configuration is not read:
            served = Path(folder) / configuration.path.name
            served.write_text(yaml.safe_dump(configuration.document, sort_keys=False), "utf-8")
        command = [sys.executable, "-m", DRIVER, str(served), str(os.getpid())]
        command.append(configuration.page_url)
        if address:
            say(console, f"step-audio2: joining the Ray cluster {address}")
            return run_in_session(command, os.environ)
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
