"""Which of a stage's replicas a caller sends a request to."""

import random
import sys
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica


class ReplicaChoice(RequestRouter):
    """Chooses by the request: the replica of its conversation, or else the least busy one.

    A request says in its fields `conversation`, `avoid` and `refused_by` where it should go.

    A router knows each replica's queue length for 10 s. After that it probes the replica again, and
    the request waits 3 ms for the answer, at each stage. A single replica needs no comparison, so
    it is taken for empty: if it is full, it rejects the request and tells its queue length.

    Ray Serve pickles this class by value, and while a server is updated its older callers get it
    too. So what only newer callers need is imported where it is needed.
    """

    def initialize_state(self, **kwargs: Any) -> None:
        super().initialize_state(**kwargs)
        self._out_of_reach: set[ReplicaID] = set()

    def on_replica_actor_unavailable(self, replica_id: ReplicaID) -> None:
        super().on_replica_actor_unavailable(replica_id)
        self._out_of_reach.add(replica_id)  # until it has answered: Serve asks with pauses

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        self._out_of_reach &= self._replica_id_set

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """Ranks of replicas. Serve takes the least busy one of the first rank that has room."""
        if pending_request is None:
            return [candidate_replicas]
        pending_request.routing_context.should_backoff = True  # between two rounds of all ranks
        request = _request(pending_request)
        _note_route(request, "")
        refused_by = getattr(request, "refused_by", ())
        with_room = [one for one in candidate_replicas if _name(one) not in refused_by]
        if not with_room:
            self._refuse(pending_request)
            return [candidate_replicas]
        chosen = self._not_lost(with_room, getattr(request, "avoid", ())) or with_room
        if len(chosen) == 1:
            self._take_for_empty(chosen[0].replica_id)
            return [chosen]
        if conversation := getattr(request, "conversation", ""):
            return self._by_conversation(conversation, chosen)
        return [random.sample(chosen, len(chosen))]  # of equals Serve takes the first

    def _not_lost(
        self, replicas: list[RunningReplica], avoid: tuple[str, ...]
    ) -> list[RunningReplica]:
        """`replicas` without those that a stream has lost.

        Such a one looks idle. So it gets no request, of other streams either, before it has
        answered a probe.
        """
        for one in replicas:
            if _name(one) in avoid:
                self.on_replica_actor_unavailable(one.replica_id)
        return [one for one in replicas if _name(one) not in avoid]

    def _by_conversation(
        self, conversation: str, replicas: list[RunningReplica]
    ) -> list[list[RunningReplica]]:
        from serve_app.graph.replica_choice import by_conversation

        named = {_name(one): one for one in replicas}
        loads = {
            name: self.replica_queue_len_cache.get(one.replica_id) for name, one in named.items()
        }
        ordered = [named[name] for name in by_conversation(conversation, loads)]
        return [self._with_next(ordered, number) for number in range(len(ordered))]

    def _with_next(self, ordered: list[RunningReplica], number: int) -> list[RunningReplica]:
        """A rank of one replica, and of the next one too where that one was out of reach.

        Serve sends the request to the next one then, and does not wait for the probe of the other.
        """
        one = ordered[number].replica_id
        if self.replica_queue_len_cache.get(one) is not None:
            self._out_of_reach.discard(one)
        return ordered[number : number + 1 + (one in self._out_of_reach)]

    def _take_for_empty(self, replica_id: ReplicaID) -> None:
        """Have an only replica taken without a probe, unless it could not be reached."""
        if self.replica_queue_len_cache.get(replica_id) is not None:
            self._out_of_reach.discard(replica_id)
        elif replica_id not in self._out_of_reach:
            self.on_new_queue_len_info(replica_id, 0)

    def _refuse(self, pending_request: PendingRequest) -> None:
        """Tell the caller that there is no replica left that could have room."""
        from deployments.errors import EveryReplicaFull

        if not pending_request.future.done():
            pending_request.future.set_exception(EveryReplicaFull())
        self._remove_pending_request_from_indices(pending_request)

    # Serve counts a request when it is sent. Of many that come at once, all are routed before the
    # first is sent, and all would go to the replica that was the least busy before. So a request
    # counts from the moment of the choice.

    def _fulfill_next_pending_request(
        self, replica: RunningReplica, request_metadata: Any = None
    ) -> None:
        pending = self._get_pending_request_matching_internal_request_id(request_metadata)
        if pending is not None:
            _note_route(_request(pending), _name(replica))
            super().on_send_request(replica.replica_id)
        super()._fulfill_next_pending_request(replica, request_metadata)

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """Nothing: the request was counted when its replica was chosen."""

    # Serve finds the request that a replica was chosen for by its `internal_request_id`. All calls
    # that are made for one HTTP request have the same one. So each call is found by its metadata,
    # which are its own.

    def _add_pending_request_to_indices(self, pending_request: PendingRequest) -> None:
        self._pending_requests_by_id[_call_id(pending_request.metadata)] = pending_request

    def _remove_pending_request_from_indices(self, pending_request: PendingRequest) -> None:
        self._pending_requests_by_id.pop(_call_id(pending_request.metadata), None)

    def _get_pending_request_matching_internal_request_id(
        self, request_metadata: Any = None
    ) -> PendingRequest | None:
        pending: PendingRequest | None
        pending = self._pending_requests_by_id.get(_call_id(request_metadata))
        return pending if pending is not None and not pending.future.done() else None


def _request(pending_request: PendingRequest) -> Any:
    return pending_request.args[0] if pending_request.args else None


def _note_route(request: Any, replica: str) -> None:
    """Let the caller know where its request goes; an older one has no module for that."""
    routes = sys.modules.get("deployments.liveness.routes")
    if routes is not None:
        routes.ROUTES.note(request, replica)


def _name(replica: RunningReplica) -> str:
    name: str = replica.replica_id.unique_id
    return name


def _call_id(metadata: Any) -> str:
    """Of a call that waits for a replica; its request holds the metadata meanwhile."""
    return str(id(metadata))
