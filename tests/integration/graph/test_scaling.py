"""What an edit of a running application restarts: as cluster/README.md says."""

import pytest
import pytest_asyncio
from ray import serve

from tests.integration.graph.conftest import fake_graph
from tests.integration.graph.deployed import deploy, replicas, states, wait_until

APPLICATION = "step-audio2-edited"


def deployed(token2wav_replicas: int, models: list[str]) -> None:
    """Deploy, and wait until it runs."""
    deployments = [{"name": "Token2Wav", "num_replicas": token2wav_replicas}]
    deploy(APPLICATION, fake_graph(http={"models": models}), deployments=deployments)
    wait_until(
        APPLICATION,
        lambda one: (
            one.status == "RUNNING" and states(one, "Token2Wav") == {"RUNNING": token2wav_replicas}
        ),
    )


@pytest_asyncio.fixture(scope="module")
async def application(base_url: str):
    deployed(1, ["one"])
    yield
    serve.delete(APPLICATION)


@pytest.mark.timeout(400)
async def test_an_edit_of_deployments_restarts_nothing_and_one_of_args_everything(
    application: None,
) -> None:
    stages = ("Thinker", "Token2Wav", "Ingress")
    before = {stage: replicas(APPLICATION, stage) for stage in stages}
    assert [len(names) for names in before.values()] == [1, 1, 1]

    deployed(2, ["one"])
    scaled = {stage: replicas(APPLICATION, stage) for stage in stages}
    assert all(before[stage] <= scaled[stage] for stage in stages)
    assert len(scaled["Token2Wav"]) == 2

    deployed(2, ["another"])
    restarted = {stage: replicas(APPLICATION, stage) for stage in stages}
    assert not any(scaled[stage] & restarted[stage] for stage in stages)
