"""CPU time of the router for each request, over the replicas that so many streams need."""

import asyncio
import math
import time
from typing import Any

from deployments.messages import ThinkerRequest
from serve_app.graph.replica_choice import by_conversation
from tests.unit.serve_app.graph.replicas import Caller, Replica

STREAMS_A_REPLICA = 192  # of Token2Wav on an H200, and the requests of its Thinker
REQUESTS = 300


def measured(streams: list[int]) -> list[dict[str, Any]]:
    return [_row(count) for count in streams]


def _row(streams: int) -> dict[str, Any]:
    count = math.ceil(streams / STREAMS_A_REPLICA)
    names = [f"replica-{number}" for number in range(count)]
    loads: dict[str, int | None] = {name: number % 100 for number, name in enumerate(names)}
    began_s = time.process_time()
    for number in range(REQUESTS):
        by_conversation(f"conversation-{number}", loads)
    ranks_ms = 1000 * (time.process_time() - began_s) / REQUESTS
    return {
        "streams": streams,
        "replicas": count,
        "rank_by_conversation_ms": round(ranks_ms, 4),
        "speech_ms": round(asyncio.run(_chosen_ms(names, "")), 4),
        "turn_ms": round(asyncio.run(_chosen_ms(names, "conversation")), 4),
    }


async def _chosen_ms(names: list[str], conversation: str) -> float:
    """Serve's and our part of a choice, where the loads of all replicas are known."""
    replicas = [Replica(name) for name in names]
    caller = Caller(*replicas)
    for number, one in enumerate(replicas):
        caller.router.on_new_queue_len_info(one.replica_id, number % Replica.max_ongoing_requests)
    began_s = time.process_time()
    for number in range(REQUESTS):
        name = f"{conversation}-{number}" if conversation else ""
        await caller.choose(ThinkerRequest("r", (), "speech", conversation=name))
    return 1000 * (time.process_time() - began_s) / REQUESTS
