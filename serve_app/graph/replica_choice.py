"""In which order the replicas of a stage are asked to take a turn of a conversation.

A replica that had the turns before has their keys and values in its cache. So the turns of one
conversation go to one replica as long as it is not busier than the others.
"""

import hashlib
import math
from collections.abc import Mapping

BOUND = 1.25  # times the mean load: a replica at that gets no further request by affinity
# Requests that a replica may have however few the others have. One more costs little in so small a
# batch. Where 24 requests lie by chance on four replicas, one has more than 8 with a probability of
# 0.47, and more than 10 with one of 0.08: then turns leave the replica that has their prefix.
ALWAYS_ROOM = 10


def by_conversation(conversation: str, loads: Mapping[str, int | None]) -> list[str]:
    """The replicas, the one that has the conversation's prefix first.

    Rendezvous hashing with bounded loads: each replica has a score for each conversation. When a
    replica goes, only its own conversations move. One that has reached its bound is passed over,
    and the conversation's next best takes the turn. Replicas at their bound come last, by load.

    Args:
        loads: requests at each replica, by its name; None where that is not known.
    """
    names = sorted(loads, key=lambda name: _score(conversation, name), reverse=True)
    bound = _bound([load for load in loads.values() if load is not None])
    within = [name for name in names if (loads[name] or 0) < bound]
    beyond = [name for name in names if (loads[name] or 0) >= bound]
    return within + sorted(beyond, key=lambda name: loads[name] or 0)


def _bound(loads: list[int]) -> int:
    """Requests that a replica may have, if it and the others are to stay within `BOUND`."""
    if not loads:
        return ALWAYS_ROOM
    return max(ALWAYS_ROOM, math.ceil(BOUND * (sum(loads) + 1) / len(loads)))


def _score(conversation: str, name: str) -> bytes:
    return hashlib.blake2b(f"{conversation} {name}".encode(), digest_size=8).digest()
