"""A graph that Ray Serve runs of a configuration, as KubeRay hands it over."""

import time
from collections.abc import Callable
from typing import Any

from ray import serve
from ray._private.state import actors
from ray.serve.context import _get_global_client
from ray.serve.schema import ApplicationStatusOverview, ServeDeploySchema

from serve_app.config import AppConfig

STARTS_WITHIN_S = 120.0


def deploy(name: str, graph: AppConfig, **application: Any) -> None:
    """Hand Ray Serve a configuration: at `/name`, `application` has its other keys."""
    wanted: dict[str, Any] = {
        "name": name,
        "route_prefix": f"/{name}",
        "import_path": "serve_app.app:app",
        "args": graph.model_dump(mode="json"),
        **application,
    }
    config = {"proxy_location": "HeadOnly", "applications": [wanted]}
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))


def wait_until(name: str, holds: Callable[[ApplicationStatusOverview], bool]) -> None:
    """Wait for a status of an application that is known."""
    ends_at = time.monotonic() + STARTS_WITHIN_S
    while not ((one := serve.status().applications.get(name)) and holds(one)):
        assert time.monotonic() < ends_at, serve.status()
        time.sleep(0.2)


def states(application: ApplicationStatusOverview, deployment: str) -> dict[str, int]:
    """How many of its replicas are in which state; none while Serve does not know it."""
    known = application.deployments.get(deployment)
    return dict(known.replica_states) if known else {}


def replicas(name: str, deployment: str) -> set[str]:
    """Names of the replicas that run, each with an id of its own."""
    running = [actor["Name"] for actor in actors().values() if actor["State"] == "ALIVE"]
    return {one for one in running if f"{name}#{deployment}#" in one}
