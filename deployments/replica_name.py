"""What a replica is called where its answers and its refusals arrive."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
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


@contextmanager
def refusals_named(name: str) -> Iterator[None]:
    """Let a refusal name the replica, but for one of the next stage's replicas."""
    try:
        yield
    except ServerFull as error:
        if not isinstance(error, EveryReplicaFull):
            error.replica = name
        raise


async def signed(deltas: AsyncGenerator[D], name: str) -> AsyncGenerator[D]:
    """`deltas` of an answer, which name their replica up to the first one that says something.

    A refusal names it too.
    """
    has_begun = False
    async with aclosing(deltas):
        with refusals_named(name):
            async for delta in deltas:
                if has_begun:
                    yield delta
                else:
                    has_begun = delta.heartbeat is None or not delta.heartbeat.alone
                    yield replace(delta, replica=name)
