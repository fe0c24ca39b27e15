"""What an edit of a running application restarts: as cluster/README.md says."""

import time
from typing import Any

import pytest
import pytest_asyncio
from ray import serve
from ray._private.state import actors
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from tests.integration.graph.conftest import fake_graph

APPLICATION = "step-audio2-scaling"


def deploy(token2wav_replicas: int, models: list[str]) -> None:
    """Hand Ray Serve a configuration, as KubeRay does, and wait until it runs."""
    args = fake_graph(http={"models": models}).model_dump(mode="json")
    application: dict[str, Any] = {
        "name": APPLICATION,
        "route_prefix": "/scaling",
        "import_path": "serve_app.app:app",
        "args": args,
        "deployments": [{"name": "Token2Wav", "num_replicas": token2wav_replicas}],
    }
    config = {"proxy_location": "HeadOnly", "applications": [application]}
    client = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate(config))
    ends_at = time.monotonic() + 120
    while not runs(token2wav_replicas):
        assert time.monotonic() < ends_at, serve.status()
        time.sleep(0.2)


def runs(token2wav_replicas: int) -> bool:
    application = serve.status().applications.get(APPLICATION)
    return (
        application is not None
        and application.status == "RUNNING"
        and application.deployments["Token2Wav"].replica_states == {"RUNNING": token2wav_replicas}
    )


def replicas(deployment: str) -> set[str]:
    """Names of the replicas that run, each with an id of its own."""
    running = [actor["Name"] for actor in actors().values() if actor["State"] == "ALIVE"]
    return {name for name in running if f"{APPLICATION}#{deployment}#" in name}


@pytest_asyncio.fixture(scope="module")
async def application(base_url: str):
    deploy(1, ["one"])
    yield
    serve.delete(APPLICATION)


@pytest.mark.timeout(400)
async def test_an_edit_of_deployments_restarts_nothing_and_one_of_args_everything(
    application: None,
) -> None:
    stages = ("Thinker", "Token2Wav", "Ingress")
    before = {stage: replicas(stage) for stage in stages}
    assert [len(names) for names in before.values()] == [1, 1, 1]

    deploy(2, ["one"])
    scaled = {stage: replicas(stage) for stage in stages}
    assert all(before[stage] <= scaled[stage] for stage in stages)
    assert len(scaled["Token2Wav"]) == 2

    deploy(2, ["another"])
    restarted = {stage: replicas(stage) for stage in stages}
    assert not any(scaled[stage] & restarted[stage] for stage in stages)
