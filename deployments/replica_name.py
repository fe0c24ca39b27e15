"""What a replica is called where its answers and its refusals arrive."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from ray import serve

from deployments.errors import EveryReplicaFull, ServerFull
from deployments.messages import SpeechDelta, ThinkerDelta

D = TypeVar("D", ThinkerDelta, SpeechDelta)


def own_name() -> str:
    """The name of the replica that this process is, as the callers' routers know it."""
    name: str = serve.get_replica_context().replica_id.unique_id
    return name


async def signed(deltas: AsyncGenerator[D], name: str) -> AsyncGenerator[D]:
    """`deltas` of an answer, the first of which names its replica, as a refusal does.

    A refusal of the next stage's replicas has no name of this one.
    """
    async with aclosing(deltas):
        try:
            if (first := await anext(deltas, None)) is not None:
                yield replace(first, replica=name)
            async for delta in deltas:
                yield delta
        except ServerFull as error:
            if not isinstance(error, EveryReplicaFull):
                error.replica = name
            raise
