"""A stage with bundles of its own, on a real Ray: where Serve puts its replica."""

import os
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import ray

from tests.integration.graph.conftest import MODEL, fake_graph, on_node, replica_record, served

BUNDLES = [{"CPU": 0.5, "first_node": 0.01}, {"CPU": 0.25, "second_node": 0.01}]


@pytest.fixture(scope="module")
def placed(base_url):
    """What Ray knows of the Thinker's replica in a graph whose Thinker has bundles on two nodes."""
    options = on_node(
        "first_node", placement_group_bundles=BUNDLES, placement_group_strategy="STRICT_SPREAD"
    )
    with served(fake_graph(thinker={"deployment_config": options})):
        yield replica_record("Thinker")


def inside(replica: dict[str, Any], question: Callable[[Any], Any]) -> Any:
    """The answer to `question` in a replica's process."""
    actor = ray.get_actor(replica["Name"], namespace="serve")
    return ray.get(actor.__ray_call__.remote(question))


def test_a_replica_runs_in_the_first_of_its_bundles_and_the_others_are_held_for_it(placed):
    group = inside(placed, lambda _: ray.util.get_current_placement_group())
    table = ray.util.placement_group_table(group)
    assert table["state"] == "CREATED"
    assert table["strategy"] == "STRICT_SPREAD"
    assert [table["bundles"][index] for index in range(2)] == BUNDLES
    first, second = (table["bundles_to_node_id"][index] for index in range(2))
    assert first != second
    assert placed["Address"]["NodeID"] == first


def test_processes_that_a_thinker_starts_find_its_own_ray(placed):
    address = inside(placed, lambda _: os.environ.get("RAY_ADDRESS"))
    assert address == ray.get_runtime_context().gcs_address


async def test_a_replica_in_a_placement_group_answers(placed, base_url):
    async with httpx.AsyncClient(timeout=60) as plain:
        chat = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        answer = await plain.post(f"{base_url}/v1/chat/completions", json=chat)
    assert answer.json()["choices"][0]["message"]["content"] == "hello"
