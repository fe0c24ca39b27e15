"""One answer in as many attempts as it takes: each is a generator of its own."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

from deployments.errors import EngineFailed, EngineLost
from deployments.messages import SpeechDelta, ThinkerDelta
from deployments.resume.progress import Progress
from deployments.resume.retry_policy import WAITS_S, Policy, Tries

D = TypeVar("D", ThinkerDelta, SpeechDelta)


class NotBegun(EngineLost):
    """Nothing was heard of a replica in the time that it had to begin.

    `replica`: the one that the request was sent to; "" where it is not known, or there was none.
    """

    replica: str

    def __init__(self, within_s: float | None, replica: str = "") -> None:
        who = f"replica {replica} did not begin" if replica else "no replica began"
        super().__init__(f"{who} within {within_s} s", replica=replica)


async def resumed(
    ask: Callable[[], AsyncGenerator[D]],
    progress: Progress[D],
    tries: Tries,
    policy: Policy,
) -> AsyncGenerator[D]:
    """The deltas of one answer, whatever replicas they come from.

    Args:
        ask: begins an attempt, by what `progress` knows. Closing it aborts it.

    Raises:
        OutOfStep: a replica said what was not next.
        NotBegun: no replica could be found to go on.
        EngineFailed: a replica ended without a `finish_reason`, and none could go on.
        whatever an attempt raised, if it is no loss, or if no other attempt may be made.
    """
    while True:
        lost: BaseException
        try:
            async with aclosing(ask()) as deltas:
                patience_s = policy.patience_s if tries.spent else None
                async for delta in _begun_within(deltas, patience_s):
                    progress.note(delta)
                    if delta.heartbeat is not None and delta.heartbeat.alone:
                        continue
                    progress.accept(delta)
                    yield delta
                    if delta.finish_reason is not None:
                        return
            lost = EngineFailed("the answer was cut short")
        except asyncio.CancelledError as error:
            # One that nobody asked this task for is a replica's, which was stopped.
            if is_cancelled():
                raise
            lost = EngineFailed("the answer was cut short")
            lost.__cause__ = error
        except NotBegun as error:
            progress.avoid(error.replica)
            if not tries.spent:
                policy.note(error, tries)
                continue  # nothing is lost
            lost = error
        except Exception as error:
            if not policy.is_lost(error):
                raise
            lost = error
        if not (tries.left > 0 and progress.can_go_on):
            raise lost
        progress.lose()
        wait_s = WAITS_S[min(tries.spent, len(WAITS_S) - 1)]
        tries.spend()
        policy.note(lost, tries)
        del lost  # its traceback knows this frame
        await policy.sleep(wait_s * (1 + policy.chance() / 2))


def is_cancelled() -> bool:
    """Whether somebody has asked this task to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _begun_within(deltas: AsyncGenerator[D], within_s: float | None) -> AsyncGenerator[D]:
    """`deltas`, the first of which comes within that time, be it a heartbeat.

    Raises NotBegun where it does not.
    """
    try:
        async with asyncio.timeout(within_s) as limit:
            first = await anext(deltas, None)
    except TimeoutError:
        if limit.expired():
            raise NotBegun(within_s) from None
        raise  # a replica's own
    if first is not None:
        yield first
        async for delta in deltas:
            yield delta
