"""Which of a stage's replicas a caller sends a request to."""

from typing import Any

from ray.serve._private.request_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, ReplicaID, RunningReplica


class ReplicaChoice(PowerOfTwoChoicesRequestRouter):
    """Ray Serve's own choice, without its question where there is nothing to choose.

    What a replica has said of its load holds for 10 s. After a longer silence Serve's router asks
    again and the request waits for the answer, 3 ms at each stage. An only replica needs no
    comparison: it refuses by itself what is too much, and says then how much it has.
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
