"""A caller's router over replicas that answer how busy they are, without Ray's processes."""

import asyncio
from typing import Any

from ray.actor import ActorHandle
from ray.serve._private.common import (
    DeploymentHandleSource,
    DeploymentID,
    ReplicaID,
    RequestMetadata,
)
from ray.serve.request_router import PendingRequest

from serve_app.graph.ray_request_router import ReplicaChoice

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
        self.hangs = False

    def push_proxy_handle(self, handle: ActorHandle) -> None:
        raise AssertionError("no proxy here")

    async def get_queue_len(self, *, deadline_s: float) -> int:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
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

    async def choose(self, *args: Any) -> Replica:
        """Where a call goes; all calls here are made for one HTTP request."""
        metadata = RequestMetadata(request_id="r", internal_request_id="r")
        request = PendingRequest(args=list(args), kwargs={}, metadata=metadata)
        chosen: Replica = await self.router._choose_replica_for_request(request)
        return chosen

    async def send(self, *args: Any) -> Replica:
        """The same, and the replica takes it."""
        replica = await self.choose(*args)
        self.router.on_send_request(replica.replica_id)
        replica.busy += 1
        return replica

    async def choose_after_silence(self) -> Replica:
        await self.choose()
        for replica in self.replicas:
            replica.asked = 0
        self.now_s += LONG_S
        return await self.choose()
