"""Which of a stage's replicas a caller sends a request to."""

from typing import Any

from ray.serve._private.request_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica


class ReplicaChoice(PowerOfTwoChoicesRequestRouter):
    """Ray Serve's own choice, without a probe where there is only one replica.

    Serve's router knows each replica's queue length for 10 s. After that it probes the replica
    again, and the request waits 3 ms for the answer, at each stage. A single replica needs no
    comparison, so it is taken for empty: if it is full, it rejects the request and tells its queue
    length.
    """

    def initialize_state(self, **kwargs: Any) -> None:
        super().initialize_state(**kwargs)
        self._out_of_reach: set[ReplicaID] = set()

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_unavailable(replica_id)
        self._out_of_reach.add(replica_id)  # until it has answered: Serve asks with pauses

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        if len(candidate_replicas) == 1:
            only = candidate_replicas[0].replica_id
            if self.replica_queue_len_cache.get(only) is not None:
                self._out_of_reach.discard(only)
            elif only not in self._out_of_reach:
                self.on_new_queue_len_info(only, 0)
        chosen: list[list[RunningReplica]]
        chosen = await super().choose_replicas(candidate_replicas, pending_request)
        return chosen
