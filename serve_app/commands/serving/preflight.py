"""What can be known to be wrong before Ray starts, in one line each."""

import os
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deployments.errors import ConfigError
from deployments.model_files import find_model
from serve_app.commands.configuration import Configuration
from serve_app.commands.serving.environment import PORTS, has_haproxy
from serve_app.commands.serving.listeners import require_free
from serve_app.config import AppConfig

CLUSTER_ANSWERS_WITHIN_S = 5.0
# Ray puts its sockets below the folder of temporary files, under names such as this one.
SOCKET = "ray/session_2026-11-30_05-40-19_134285_1234567/sockets/plasma_store"
SOCKET_PATH_BYTES = 107  # of a Unix socket's address
HOSTS_OF_HAPROXY = ("127.0.0.1", "0.0.0.0", "localhost")


def check_arguments(configuration: Configuration, *, here: bool) -> AppConfig:
    """The graph's arguments; `here` where its stages run on this machine, and the model must be.

    Raises:
        ConfigError: a key is wrong, or the model is not there or not whole.
    """
    config = AppConfig.model_validate(configuration.arguments)
    thinker = config.thinker.engine != "fake"
    token2wav = config.token2wav is not None and config.token2wav.engine != "fake"
    if here and (thinker or token2wav):
        find_model(config.model).require(thinker=thinker, token2wav=token2wav)
    return config


def check_host(host: str, environment: Mapping[str, str]) -> None:
    """Raise ConfigError where HAProxy would listen and reach no replica.

    Replicas listen at `host` too, and HAProxy looks for those of its own machine at 127.0.0.1.
    """
    if has_haproxy(environment) and host not in HOSTS_OF_HAPROXY:
        raise ConfigError(
            f"http_options.host {host}: HAProxy reaches the replicas at 127.0.0.1 alone; take "
            "127.0.0.1, or 0.0.0.0 for every address, or set RAY_SERVE_ENABLE_HA_PROXY=0"
        )


def check_ports(configuration: Configuration, environment: Mapping[str, str]) -> None:
    """Raise ConfigError where a port that is asked for is taken, and say by which process."""
    require_free(configuration.host, configuration.port, "port")
    if not has_haproxy(environment):
        return
    for name in PORTS:
        if value := environment.get(name):
            if not value.isdecimal() or not 0 < int(value) < 1 << 16:
                raise ConfigError(f"{name} must be a port, 1 to 65535, not {value!r}")
            require_free("0.0.0.0", int(value), f"the port of {name},")


def check_folder() -> None:
    """Raise ConfigError where the folder of temporary files is too deep for Ray's sockets."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    if len(os.fsencode(folder / SOCKET)) > SOCKET_PATH_BYTES:
        raise ConfigError(
            f"the folder of temporary files, {folder}, has too long a path for Ray's sockets; "
            "RAY_TMPDIR names another one"
        )


def check_cluster(address: str) -> None:
    """Raise ConfigError where no Ray cluster answers at `address`: Ray itself would wait for ever.

    `auto` and addresses that are no `host:port` are left to Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CLUSTER_ANSWERS_WITHIN_S):
            return
    except (OSError, OverflowError) as error:
        raise ConfigError(f"no Ray cluster answers at {address} (RAY_ADDRESS): {error}") from error
