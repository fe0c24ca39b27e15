"""A stage is full only when each of its replicas has refused a request."""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from deployments.errors import EveryReplicaFull, ServerFull
from deployments.messages import SpeechDelta, SpeechRequest, ThinkerDelta, ThinkerRequest
from deployments.ray_failures import unwrap

ASKS_AGAIN_AFTER_S = 0.15  # all replicas, for an answer that lost its replica

R = TypeVar("R", ThinkerRequest, SpeechRequest)
D = TypeVar("D", ThinkerDelta, SpeechDelta)


async def asked_until_one_has_room(
    request: R,
    call: Callable[[R], AsyncGenerator[D]],
    *,
    waits: bool,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[D]:
    """The deltas of the first replica that does not refuse. Closing it aborts the answer.

    Args:
        waits: whether all replicas are asked again and again where none has room, for as long as
            the caller likes; else each is asked once.

    Raises:
        EveryReplicaFull: with the least `retry_after_s` of all refusals.
        whatever else a replica raised.
    """
    refusals: list[ServerFull] = []
    while True:
        refused_by = tuple(refusal.replica for refusal in refusals)
        deltas = call(replace(request, refused_by=refused_by))
        has_begun = False
        try:
            async for delta in deltas:
                has_begun = has_begun or delta.heartbeat is None or not delta.heartbeat.alone
                yield delta
            return
        except Exception as error:
            refusal = unwrap(error)
            if has_begun or not isinstance(refusal, ServerFull):
                raise
            if refusal.replica and refusal.replica not in refused_by:
                refusals.append(refusal)
                continue
            if not waits and refusals:
                raise _together(refusals) from error
            if not waits:
                raise
        finally:
            await deltas.aclose()
        refusals.clear()
        await sleep(ASKS_AGAIN_AFTER_S)


def _together(refusals: list[ServerFull]) -> EveryReplicaFull:
    def after_s(refusal: ServerFull) -> float:
        return math.inf if refusal.retry_after_s is None else refusal.retry_after_s

    soonest = min(refusals, key=after_s)
    return EveryReplicaFull(soonest.retry_after_s, soonest.reason)
