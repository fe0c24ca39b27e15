"""What keeps a server from starting and can be known before Ray starts, in one line each."""

from collections.abc import Mapping

from deployments.errors import ConfigError
from serve_app.commands.config_file import Configuration
from serve_app.commands.preflight import require_cluster, require_model, require_ray_folder
from serve_app.commands.serving.environment import PORTS, has_haproxy
from serve_app.commands.serving.listeners import require_free
from serve_app.config import AppConfig
from serve_app.http.chat.spoken_turns import spoken_turns_of

HOSTS_OF_HAPROXY = ("127.0.0.1", "0.0.0.0", "localhost")


def check(
    configuration: Configuration, environment: Mapping[str, str], address: str | None
) -> None:
    """Run every check that applies, the quickest first.

    Args:
        configuration: What is to be served.
        environment: Of the server, without its defaults.
        address: The Ray cluster that serves it; None for one of its own on this machine.

    Raises:
        ConfigError: names the first thing that is wrong.
    """
    config = AppConfig.model_validate(configuration.arguments)
    if address:
        require_cluster(address)  # its machines have the ports and the model
        return
    require_host(configuration.host, environment)
    require_ports(configuration, environment)
    require_ray_folder(environment)
    spoken_turns_of(config.http)  # reads the keys and makes the folder, as a replica does
    require_model(config)


def require_host(host: str, environment: Mapping[str, str]) -> None:
    """Raise ConfigError where HAProxy would listen and reach no replica.

    Replicas listen at `host` too, and HAProxy looks for those of its own machine at 127.0.0.1.
    """
    if has_haproxy(environment) and host not in HOSTS_OF_HAPROXY:
        raise ConfigError(
            f"http_options.host {host}: HAProxy reaches the replicas at 127.0.0.1 alone; take "
            "127.0.0.1, or 0.0.0.0 for every address, or set RAY_SERVE_ENABLE_HA_PROXY=0"
        )


def require_ports(configuration: Configuration, environment: Mapping[str, str]) -> None:
    """Raise ConfigError where a port that is asked for is taken, and say by which process."""
    require_free(configuration.host, configuration.port, "port")
    if not has_haproxy(environment):
        return
    for name in PORTS:
        if value := environment.get(name):
            if not value.isdecimal() or not 0 < int(value) < 1 << 16:
                raise ConfigError(f"{name} must be a port, 1 to 65535, not {value!r}")
            require_free("0.0.0.0", int(value), f"the port of {name},")
