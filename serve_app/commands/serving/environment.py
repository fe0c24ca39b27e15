"""The environment of a server: the switches, ports and files that its processes read at start."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from serve_app.commands.serving.listeners import free_port

SWITCHES: Mapping[str, str] = {
    # Routing in the caller's loop, gRPC between replicas, HAProxy in front.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(100 << 20),
    # What names requests and reads headers, in the proxies too: the fallback one answers at start.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.http.serve_middlewares:middlewares",
    # A connection that an ingress replica closed without an answer, because it was ending, is no
    # answer: the request is asked again, of another replica if there is one. Nobody heard anything.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    "RAY_SERVE_HAPROXY_RETRIES": "2",
    # No load balancer has to notice that this machine's server stops: it ends 30 s sooner.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}
"""Set where the caller's environment does not."""

PORTS: Mapping[str, int] = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,  # Python's proxy, behind HAProxy
}
"""What listens beside HTTP where HAProxy is on, and Ray Serve's own choice of a port."""

INSIDE: Mapping[str, str] = {"grpc_proxy": ""}
"""gRPC runs between processes of the graph: past `http_proxy` and `https_proxy`."""

HAPROXY = Path(__file__).with_name("haproxy")
OWN_BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"


def has_haproxy(environment: Mapping[str, str]) -> bool:
    """Whether a server in `environment` has HAProxy in front."""
    return {**SWITCHES, **environment}["RAY_SERVE_ENABLE_HA_PROXY"] == "1"


def server_environment(
    environment: Mapping[str, str], folder: Path, ports: Mapping[str, int]
) -> dict[str, str]:
    """`environment` with what a server of its own needs.

    Args:
        environment: The caller's; its switches win.
        folder: Where HAProxy's configuration and sockets lie; must exist while the server runs.
        ports: By variable, as `choose_ports` gives them.
    """
    server = {**SWITCHES, **environment, **INSIDE}
    server |= {name: str(port) for name, port in ports.items()}
    server |= haproxy_files(folder)
    if wanted := environment.get(OWN_BINARY):
        server["STEP_AUDIO2_HAPROXY_BINARY_PATH"] = wanted
    server[OWN_BINARY] = str(HAPROXY)
    # HAPROXY is a script for this interpreter
    server["PATH"] = os.pathsep.join([interpreter_folder(), environment.get("PATH", os.defpath)])
    return server


def haproxy_files(folder: Path) -> dict[str, str]:
    """Variables that keep HAProxy's files in `folder`, not in one that all servers share."""
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def choose_ports(environment: Mapping[str, str]) -> dict[str, int]:
    """The ports of `PORTS`: the environment's, else Ray Serve's own, else free ones."""
    return {
        name: int(environment[name]) if environment.get(name) else free_port(preferred)
        for name, preferred in PORTS.items()
    }


def interpreter_folder() -> str:
    """Where this interpreter's scripts are: of a virtual environment, active or not."""
    return str(Path(sys.executable).parent)
