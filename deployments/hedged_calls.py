"""Calls that answer once, made again where their replica hangs or dies.

A stream says that it is alive, and `deployments.liveness` misses it. A call that answers once says
nothing meanwhile. So another one is made beside it after a while, and the first answer counts (a
hedged request: Dean and Barroso, "The Tail at Scale", 2013). It fits what may be done twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployments.errors import EngineLost
from deployments.resume import is_cancelled

T = TypeVar("T")


async def hedged(
    call: Callable[[], Awaitable[T]],
    is_lost: Callable[[BaseException], bool],
    after_s: float,
    calls: int,
) -> T:
    """The first answer to `call`, which is made `calls` times at most.

    The calls run beside each other, so that a router which counts them sends the next one
    elsewhere. When one has answered, the others are cancelled.

    Args:
        is_lost: whether an error says that the replica is lost, and not that the call is at fault.
        after_s: without an answer for so long, another one is made.

    Raises:
        what a call raised that did not lose its replica; or what the last of them raised.
    """
    running: set[asyncio.Future[T]] = set()
    left = calls
    try:
        while True:
            if left:
                running.add(asyncio.ensure_future(_made(call)))
                left -= 1
            done, running = await asyncio.wait(
                running,
                timeout=after_s if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for one in done:
                error = one.exception()
                if error is None:
                    return one.result()
                if not is_lost(error) or not (left or running):
                    raise error
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _made(call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        # One that nobody asked this task for is a replica's, which was stopped.
        raise EngineLost("a replica was stopped before it had answered") from error
