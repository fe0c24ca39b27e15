"""`make cluster`: several Ray nodes on this machine, and a server on them, until Ctrl-C.

What an operator wants to see before a real cluster does it can be seen here: replicas on several
nodes, a node that goes, an update. Each node counts the processors that it is given; all of them
share those of the machine.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ray.cluster_utils import Cluster

from serve_app.commands.serving.environment import (
    choose_ports,
    haproxy_files,
    server_environment,
)
from serve_app.commands.serving.listeners import free_port
from serve_app.commands.serving.session import end_as, ends_in_order, run_in_session

DEVICES = "CUDA_VISIBLE_DEVICES"
DASHBOARD_PORT = 8265  # Ray's own choice


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", help="as of `step-audio2 serve`")
    options.add_argument("--nodes", type=int, default=3)
    options.add_argument("--cpus", type=float, default=4, help="that each node counts")
    options.add_argument("--gpus", type=int, default=0, help="likewise; each has its own")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="step-audio2-", ignore_cleanup_errors=True) as folder:
        os.environ |= server_environment(os.environ, Path(folder), choose_ports(os.environ))
        with running(chosen.nodes, chosen.cpus, chosen.gpus, folder) as at:
            command = [sys.executable, "-m", "serve_app", "serve", chosen.config]
            return run_in_session(command, os.environ | {"RAY_ADDRESS": at})


@contextmanager
def running(nodes: int, cpus: float, gpus: int, folder: str) -> Iterator[str]:
    """A Ray of that many nodes; gives its address. A node that goes takes only itself along.

    Args:
        cpus: that each node counts.
        gpus: that each node has; no two nodes have the same one.
        folder: for what the nodes write.
    """
    each = {"num_cpus": cpus, "num_gpus": gpus}
    dashboard = {"include_dashboard": True, "dashboard_port": free_port(DASHBOARD_PORT)}
    head = {**each, **dashboard, "env_vars": own_devices(0, gpus, os.environ)}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for number in range(1, nodes):
            variables = own_proxy(Path(folder) / str(number))
            cluster.add_node(**each, env_vars=variables | own_devices(number, gpus, os.environ))
        cluster.wait_for_nodes()
        print(f"step-audio2: {nodes} nodes at {cluster.address}", file=sys.stderr, flush=True)
        yield cluster.address
    finally:
        cluster.shutdown()


def own_devices(number: int, gpus: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The variable that shows a node its GPUs, and those alone, of all that this process sees.

    A Ray node that counts one GPU would take the first, and every node the same one.
    """
    if not gpus:
        return {}
    seen = environment.get(DEVICES)
    mine = range(number * gpus, (number + 1) * gpus)
    every = seen.split(",") if seen else [str(device) for device in range(mine.stop)]
    return {DEVICES: ",".join(every[device] for device in mine if device < len(every))}


def own_proxy(folder: Path) -> dict[str, str]:
    """Variables of a node whose proxy shares the machine with that of the first one.

    With `proxy_location: EveryNode` each node has one, and here each needs ports of its own.
    """
    folder.mkdir()
    ports = {name: str(port) for name, port in choose_ports({}).items()}
    return ports | haproxy_files(folder) | {"RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(free_port())}


if __name__ == "__main__":
    with ends_in_order():
        status = main()
    end_as(status)
