"""When a caller asks a stage's replicas how busy they are before it sends a request."""

import pytest
from ray.actor import ActorHandle
from ray.serve._private.build_app import build_app
from ray.serve._private.common import (
    DeploymentHandleSource,
    DeploymentID,
    ReplicaID,
    RequestMetadata,
)
from ray.serve.request_router import PendingRequest

from serve_app.app import app
from serve_app.config import AppConfig
from serve_app.graph.replica_choice import ReplicaChoice

STAGE = DeploymentID("Stage")
LONG_S = 1000.0  # of silence
MOST = 4  # requests that a replica takes at once


class Replica:
    """Answers how busy it is, and counts how often it was asked."""

    node_id, availability_zone = "here", None
    max_ongoing_requests = MOST
    multiplexed_model_ids: frozenset[str] = frozenset()

    def __init__(self, name: str) -> None:
        self.replica_id = ReplicaID(unique_id=name, deployment_id=STAGE)
        self.busy = self.asked = 0

    def push_proxy_handle(self, handle: ActorHandle) -> None:
        raise AssertionError("no proxy here")

    async def get_queue_len(self, *, deadline_s: float) -> int:
        self.asked += 1
        return self.busy


class Caller:
    """A router over `replicas`, with a clock of its own."""

    def __init__(self, *replicas: Replica) -> None:
        self.now_s = 0.0
        self.replicas = replicas
        self.router = ReplicaChoice(
            deployment_id=STAGE,
            handle_source=DeploymentHandleSource.REPLICA,
            use_replica_queue_len_cache=True,
            get_curr_time_s=lambda: self.now_s,
        )
        self.router.initialize_state()
        self.router.update_replicas(list(replicas))

    async def choose(self) -> Replica:
        metadata = RequestMetadata(request_id="r", internal_request_id="r")
        request = PendingRequest(args=[], kwargs={}, metadata=metadata)
        chosen: Replica = await self.router._choose_replica_for_request(request)
        return chosen

    async def choose_after_silence(self) -> Replica:
        await self.choose()
        for replica in self.replicas:
            replica.asked = 0
        self.now_s += LONG_S
        return await self.choose()


async def test_after_a_silence_an_only_replica_is_not_asked():
    only = Replica("only")
    assert await Caller(only).choose_after_silence() is only
    assert only.asked == 0


async def test_after_a_silence_two_replicas_are_asked_and_the_idle_one_is_chosen():
    busy, idle = Replica("busy"), Replica("idle")
    busy.busy = MOST - 1
    assert await Caller(busy, idle).choose_after_silence() is idle
    assert (busy.asked, idle.asked) == (1, 1)


async def test_an_only_replica_that_refused_is_asked_until_it_has_room():
    only = Replica("only")
    caller = Caller(only)
    await caller.choose_after_silence()
    caller.router.on_new_queue_len_info(only.replica_id, MOST)  # its refusal says so
    assert await caller.choose() is only
    assert only.asked == 1


async def test_an_only_replica_out_of_reach_is_asked_until_it_has_answered():
    only = Replica("only")
    caller = Caller(only)
    await caller.choose()
    caller.router.on_replica_actor_unavailable(only.replica_id)
    only.asked = 0
    await caller.choose()
    assert only.asked == 1
    assert await caller.choose_after_silence() is only
    assert only.asked == 0


@pytest.mark.parametrize("stage", ["Thinker", "Token2Wav"])
def test_callers_of_a_stage_choose_so(stage: str):
    built = build_app(app(AppConfig.model_validate({"model": "none"})), name="x")
    (deployment,) = (each for each in built.deployments if each.name == stage)
    router = deployment._deployment_config.request_router_config.get_request_router_class()
    assert router.__qualname__ == ReplicaChoice.__qualname__  # Serve sends a copy of the class
