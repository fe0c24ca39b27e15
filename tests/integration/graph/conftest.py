"""One Ray of two nodes for all tests of the graph; each module serves its own application on it."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest_asyncio
import ray
from ray import serve
from ray._private.state import actors
from ray.cluster_utils import Cluster

from serve_app.app import app
from serve_app.commands.serving.listeners import free_port
from serve_app.config import AppConfig

MODEL = "step-audio-2-mini"
NUMBERS = itertools.count()


@pytest_asyncio.fixture(scope="session")
async def base_url() -> AsyncIterator[str]:
    """Where the application of the module at hand is served.

    An async fixture: the handles' routers live in the tests' event loop, which must still run
    when Serve shuts down.
    """
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 8, "resources": {"first_node": 1}, "include_dashboard": False},
    )
    # Ray only counts these GPUs; what is told to use one computes on the CPU all the same.
    cluster.add_node(num_cpus=8, num_gpus=2, resources={"second_node": 1})
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port, "location": "HeadOnly"})
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


@contextmanager
def served(config: AppConfig) -> Iterator[str]:
    """The graph of `config` on the running Ray; gives the application's name.

    Each has a name of its own: a handle of this process would go on looking for the replicas
    of an earlier application of the same name.
    """
    name = f"step-audio2-{next(NUMBERS)}"
    serve.run(app(config), name=name)
    try:
        yield name
    finally:
        serve.delete(name)


def on_node(node: str | None = None, **options: Any) -> dict[str, Any]:
    """`deployment_config` of a stage that needs no GPU, pinned to a node if one is named."""
    resources = {node: 0.01} if node else {}
    actor = {"num_cpus": 0.5, "num_gpus": 0, "resources": resources}
    return {"ray_actor_options": actor, "graceful_shutdown_timeout_s": 0.5, **options}


def fake_graph(**sections: dict[str, Any]) -> AppConfig:
    """The whole graph with engines that answer at once."""
    return AppConfig.model_validate(
        {
            "model": "none",
            "thinker": {
                "engine": "fake",
                "deployment_config": on_node(),
                **sections.get("thinker", {}),
            },
            "token2wav": {
                "engine": "fake",
                "deployment_config": on_node(),
                **sections.get("token2wav", {}),
            },
            "http": {"models": [MODEL], **sections.get("http", {})},
            "ingress_deployment_config": on_node(**sections.get("ingress", {})),
            "recovery": sections.get("recovery", {}),
        }
    )


async def requests_in_thinker(application: str) -> int:
    """How many requests the Thinker's engine has now: looked up inside the replica's actor."""
    name = replica_record("Thinker", application)["Name"]
    replica = ray.get_actor(name, namespace="serve")
    return await replica.__ray_call__.remote(
        lambda actor: actor._replica_impl._user_callable_wrapper._callable._engine.active_requests()
    )


def speech_body(text: str) -> dict[str, str]:
    return {"model": MODEL, "voice": "default", "input": text, "response_format": "pcm"}


def replica_record(deployment: str, application: str = "") -> dict:
    """What Ray's control store knows of a deployment's running replica."""
    running = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
    return next(one for one in running if f"{application}#{deployment}#" in one["Name"])
