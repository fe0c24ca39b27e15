"""Ray Serve's HAProxy with files and ports of its own, so that two can run on one machine."""

from pathlib import Path

from serve_app.commands.serving.environment import PORTS, haproxy_files
from serve_app.commands.serving.listeners import free_port


def own_settings(directory: Path) -> dict[str, str]:
    """Environment for the processes of one Ray; `directory` must exist while they run."""
    return haproxy_files(directory) | {name: str(free_port()) for name in PORTS}
